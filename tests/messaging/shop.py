"""A shop that waits for payments: the events, the store and the questions that the tests of this room share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from eventkit.domain.catalog.catalog import Catalog
from eventkit.domain.message import Message
from eventkit.domain.stream import StreamId
from eventkit.messaging.deadlines import Deadlines
from eventkit.messaging.timer_worker import SESSION, TimerWorker
from eventkit.storage.db.connection import connect
from eventkit.storage.events.event_store import EventStore
from eventkit.storage.events.stream_history import OwnHistory

shop = Catalog("shop")


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    """A customer wants something."""

    order: str
    total: int = 1


@shop.event
@dataclass(frozen=True)
class OrderPaid:
    """The money is there."""

    order: str


@shop.event
@dataclass(frozen=True)
class PaymentOverdue:
    """The money is not there in time."""

    order: str


@shop.event
@dataclass(frozen=True)
class ChargeCard:
    """A command: take the money."""

    order: str
    amount: int = 1


@shop.event
@dataclass(frozen=True)
class CardCharged:
    """The card company has paid."""

    order: str
    amount: int = 1


@shop.event
@dataclass(frozen=True)
class ShipOrder:
    """A command: send it."""

    order: str


@shop.event
@dataclass(frozen=True)
class OrderCancelled:
    """It will not be sent."""

    order: str


store = EventStore(shop)
deadlines = Deadlines(store)


def order(key: int | str) -> StreamId:
    """Return the stream of an order."""
    return shop.stream("order", key)


def timers(url: str, owner: str = "test") -> TimerWorker:
    """Return the worker."""
    return TimerWorker(
        lambda name: connect(url, name=name, autocommit=True, options=SESSION), schema="eventkit", owner=owner
    )


def delivered(url: str, *streams: str) -> list[Message]:
    """Return all events of streams as they come off the wire."""
    with psycopg.connect(url) as connection:
        history = OwnHistory(connection, "eventkit")
        return [item for stream in streams for item in history.between(stream, 0, 2**31 - 1, limit=1_000)]


def unversioned(event: object, event_id: str, *, source: str = "till", key: str = "") -> Message:
    """Return a message that somebody has sent without an event store."""
    kind, _, data, _ = shop.encode(event)
    return Message(
        "shop.charge_card",
        key,
        data.encode(),
        [
            ("ce_specversion", "1.0"),
            ("ce_id", event_id),
            ("ce_source", source),
            ("ce_type", kind),
            ("ce_time", "2026-01-01T00:00:00Z"),
            ("content-type", "application/json"),
        ],
    )


def rows(url: str, statement: str, params: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
    """Return the rows of the database."""
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode(), params).fetchall()


def history(url: str) -> dict[str, list[str]]:
    """Return the types of the events by stream, in order of version."""
    return dict(
        rows(
            url, "select stream, array_agg(type order by version) from eventkit.events group by stream order by stream"
        )
    )


def waiting(url: str) -> list[tuple[str, str]]:
    """Return the deadlines that are still to come, by stream and name."""
    return rows(url, "select stream, name from eventkit.timers order by 1, 2")


def committed(url: str, work: Callable[[psycopg.Connection[Any]], object]) -> None:
    """Do something in a transaction of its own."""
    with psycopg.connect(url) as connection:
        work(connection)
