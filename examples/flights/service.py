"""The airline's service: it keeps each flight's state in its own table and records what happened, in one transaction.

This is all that a service author writes: change your rows, append your events, and commit both or neither.
"""

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from eventkit import NO_STREAM, Appended, EventStore
from eventkit.config import load
from examples.flights.events import (
    RUN,
    Fact,
    FlightArrived,
    FlightCancelled,
    FlightDeparted,
    FlightDiverted,
    FlightScheduled,
    flights,
)

store = EventStore(flights, schema=load().schema)


class ServiceTable(DeclarativeBase):
    """The service's own tables, in a schema of their own."""

    metadata = MetaData(schema=RUN)


class FlightState(ServiceTable):
    """A flight as the service knows it now."""

    __tablename__ = "flights"

    flight: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    departure_delay: Mapped[int | None]
    arrival_delay: Mapped[int | None]

    def note(self, fact: Fact) -> None:
        """Bring the row up to what happened."""
        match fact:
            case FlightScheduled():
                self.status = "scheduled"
            case FlightDeparted(delay=delay):
                self.status, self.departure_delay = "departed", delay
            case FlightArrived(delay=delay):
                self.status, self.arrival_delay = "arrived", delay
            case FlightDiverted():
                self.status = "diverted"
            case FlightCancelled():
                self.status = "cancelled"


def record(session: Session, flight: str, facts: tuple[Fact, ...], *, after: int = 0) -> Appended:
    """Record what happened to a flight of which `after` events are recorded; the caller commits, or rolls back."""
    state = session.get_one(FlightState, flight) if after else FlightState(flight=flight)
    for fact in facts:
        state.note(fact)
    session.add(state)
    return store.append(session, flights.stream("flight", flight), *facts, expected=after or NO_STREAM)
