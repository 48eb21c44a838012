"""The airline's service: it keeps each flight's state in its own table and records events, in one transaction.

This is all that a service author writes: change your rows, append your events, and commit both or neither.
"""

from typing import Any

import psycopg
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from eventkit import NO_STREAM, Appended, EventStore, load_settings
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

store = EventStore(flights, schema=load_settings().schema)


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


# Values that an event leaves out stay as they were: a flight's steps may come one by one.
_CHANGE = f"""
insert into {RUN}.flights as f (flight, status, departure_delay, arrival_delay)
values (%(flight)s, %(status)s, %(departure_delay)s, %(arrival_delay)s)
on conflict (flight) do update set status = excluded.status,
   departure_delay = coalesce(excluded.departure_delay, f.departure_delay),
   arrival_delay = coalesce(excluded.arrival_delay, f.arrival_delay)
"""


def state_after(facts: tuple[Fact, ...]) -> dict[str, str | int | None]:
    """Return the values that the facts give a flight's row."""
    state: dict[str, str | int | None] = {"departure_delay": None, "arrival_delay": None}
    for fact in facts:
        match fact:
            case FlightScheduled():
                state["status"] = "scheduled"
            case FlightDeparted(delay=delay):
                state |= {"status": "departed", "departure_delay": delay}
            case FlightArrived(delay=delay):
                state |= {"status": "arrived", "arrival_delay": delay}
            case FlightDiverted():
                state["status"] = "diverted"
            case FlightCancelled():
                state["status"] = "cancelled"
    return state


def record(connection: psycopg.Connection[Any], flight: str, facts: tuple[Fact, ...], *, after: int = 0) -> Appended:
    """Record the facts of a flight of which `after` events are recorded; the caller commits, or rolls back."""
    connection.execute(_CHANGE, {"flight": flight, **state_after(facts)})
    return store.append(connection, flights.stream("flight", flight), *facts, expected=after or NO_STREAM)
