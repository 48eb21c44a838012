"""A writer process: records its share of the flights at its pace, one transaction a flight.

Every twentieth flight is recorded step by step, a transaction each, other flights in between. Every twenty-fifth is
first tried in a transaction that is rolled back, row and events: nothing of it may ever be seen. Of every tenth
transaction the latency watcher gets the time when `commit()` returned.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from examples.flights import lifeline
from examples.flights.events import Fact, flights
from examples.flights.raw_data import Flight
from examples.flights.service import record

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized, SynchronizedArray

STEPWISE_EVERY = 20
ROLLED_BACK_EVERY = 25
SAMPLED_EVERY = 10
POLL_INTERVAL = 0.01  # seconds between two reads of the allowed number
STEPS_WAITING = 10  # a step is recorded when this many wait behind it


class Step(NamedTuple):
    """One thing that happened to a flight of which `after` events are recorded."""

    flight: str
    fact: Fact
    after: int


class Sample(NamedTuple):
    """A committed transaction whose way to the read models is timed."""

    stream: str
    version: int
    committed: int  # time.monotonic_ns(), the same clock in all processes of a machine


@dataclass(frozen=True)
class Share:
    """The task of one writer, and its database."""

    database_url: str
    flights: list[Flight]
    seconds_per_flight: float


@dataclass(frozen=True)
class Wires:
    """A writer's connections to the rest of the demo."""

    allowed: "Synchronized[float]"  # the part of the flights that may be recorded by now, from 0 to 1
    tally: "SynchronizedArray[int]"  # flights begun, events committed, transactions committed, rolled back
    samples: Connection


def write(share: Share, wires: Wires) -> None:
    """Be a writer process."""
    lifeline.hold()
    with psycopg.connect(share.database_url) as connection:
        writer = Writer(connection, wires)
        for flight in paced(share, wires.allowed):
            writer.take(flight)
        writer.finish()


def paced(share: Share, allowed: "Synchronized[float]") -> Iterator[Flight]:
    """Yield flights at an even pace, late ones at once, and none beyond the allowed part of them."""
    due = time.monotonic()
    for number, flight in enumerate(share.flights):
        while number >= allowed.value * len(share.flights):
            time.sleep(POLL_INTERVAL)
            due = time.monotonic()
        time.sleep(max(0.0, due - time.monotonic()))
        yield flight
        due += share.seconds_per_flight


@dataclass
class Writer:
    """Turns flights into transactions."""

    connection: psycopg.Connection[Any]
    wires: Wires
    steps: deque[Step] = field(default_factory=deque)

    def take(self, flight: Flight) -> None:
        """Record a flight whole, or put its steps in line."""
        turn = self._count(0, 1)
        if turn % ROLLED_BACK_EVERY == 0:
            self._try_in_vain(flight)
        if turn % STEPWISE_EVERY == 0:
            self.steps.extend(Step(flight.id, fact, after) for after, fact in enumerate(flight.facts))
        else:
            self._commit(flight.id, flight.facts)
        if len(self.steps) > STEPS_WAITING:
            self._take_step()

    def finish(self) -> None:
        """Record the steps that still wait."""
        while self.steps:
            self._take_step()

    def _take_step(self) -> None:
        step = self.steps.popleft()
        self._commit(step.flight, (step.fact,), after=step.after)

    def _commit(self, flight: str, facts: tuple[Fact, ...], *, after: int = 0) -> None:
        record(self.connection, flight, facts, after=after)
        self.connection.commit()
        committed = time.monotonic_ns()
        self._count(1, len(facts))
        if self._count(2, 1) % SAMPLED_EVERY == 0:
            self.wires.samples.send(Sample(flights.stream("flight", flight), after + len(facts), committed))

    def _try_in_vain(self, flight: Flight) -> None:
        record(self.connection, flight.id, flight.facts)
        self.connection.rollback()
        self._count(3, 1)

    def _count(self, place: int, number: int) -> int:
        self.wires.tally[place] += number  # this process is its only writer
        return int(self.wires.tally[place])
