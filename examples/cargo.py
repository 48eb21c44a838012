"""Cargo shipping: a cargo is booked, routed and handled; tracking shows its place and the next expected step."""

from dataclasses import dataclass, field
from datetime import date
from typing import Literal, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from eventkit import Aggregate, Catalog, EventStore, Repository, evolve

shipping = Catalog("shipping")
Activity = Literal["receive", "load", "unload", "claim"]


class Leg(NamedTuple):
    origin: str
    destination: str
    voyage: str


class Step(NamedTuple):
    activity: Activity
    location: str
    voyage: str | None = None


@shipping.event
@dataclass(frozen=True)
class CargoBooked:
    origin: str
    destination: str
    deadline: date


@shipping.event
@dataclass(frozen=True)
class DestinationChanged:
    destination: str


@shipping.event
@dataclass(frozen=True)
class RouteAssigned:
    legs: list[Leg]


@shipping.event
@dataclass(frozen=True)
class CargoHandled:
    step: Step


class NotOnRoute(Exception):
    """These legs do not lead from where the cargo is to its destination."""


@dataclass
class Cargo(Aggregate):
    origin: str = ""
    destination: str = ""
    deadline: date = date.max
    location: str = ""  # the last that is known
    plan: list[Step] = field(default_factory=list)  # the expected steps, the next one first
    received: bool = False
    misdirected: bool = False
    delivered: bool = False

    @property
    def next_step(self) -> Step | None:
        return self.plan[0] if self.plan and not self.misdirected else None

    def assign(self, *legs: Leg) -> None:
        stops = [self.location, *(leg.destination for leg in legs)]
        if not legs or stops != [*(leg.origin for leg in legs), self.destination]:
            raise NotOnRoute(f"{' - '.join(stops)} does not lead to {self.destination}")
        self.record(RouteAssigned(list(legs)))

    @evolve
    def _booked(self, event: CargoBooked) -> None:
        self.origin, self.destination, self.deadline = event.origin, event.destination, event.deadline
        self.location = event.origin

    @evolve
    def _destination_changed(self, event: DestinationChanged) -> None:
        self.destination = event.destination
        self.misdirected = bool(self.plan)

    @evolve
    def _route_assigned(self, event: RouteAssigned) -> None:
        self.plan = [] if self.received else [Step("receive", self.location)]
        for leg in event.legs:
            self.plan += [Step("load", leg.origin, leg.voyage), Step("unload", leg.destination, leg.voyage)]
        self.plan.append(Step("claim", self.destination))
        self.misdirected = False

    @evolve
    def _handled(self, event: CargoHandled) -> None:
        self.misdirected = event.step != self.next_step
        self.location, self.received = event.step.location, True
        self.delivered = event.step.activity == "claim" and self.location == self.destination
        if not self.misdirected:
            self.plan = self.plan[1:]


cargos = Repository(EventStore(shipping), Cargo, category="cargo")


def book(session: Session, origin: str, destination: str, deadline: date) -> UUID:
    key = uuid4()
    with cargos.change(session, key) as cargo:
        cargo.record(CargoBooked(origin, destination, deadline))
    return key


def change_destination(session: Session, key: UUID, destination: str) -> None:
    with cargos.change(session, key) as cargo:
        cargo.record(DestinationChanged(destination))


def assign_route(session: Session, key: UUID, *legs: Leg) -> None:
    with cargos.change(session, key) as cargo:
        cargo.assign(*legs)


def handle(session: Session, key: UUID, activity: Activity, location: str, voyage: str | None = None) -> None:
    with cargos.change(session, key) as cargo:
        cargo.record(CargoHandled(Step(activity, location, voyage)))
