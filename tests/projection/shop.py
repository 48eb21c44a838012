"""A small shop for the projector's tests: events, their messages off the wire, a read model, and a projector for it."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
from sqlalchemy import Column, Integer, MetaData, Table, Text

from eventkit.domain.catalog.catalog import Catalog
from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.message import Message, message_of
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.define.projection import Projection
from eventkit.projection.define.rows import DELETE
from eventkit.projection.define.table import TableProjection
from eventkit.projection.failure.set_aside import SetAside
from eventkit.projection.run.projector import Projector
from eventkit.storage.db.connection import connect
from eventkit.storage.events.stream_history import History, OwnHistory
from eventkit.transports.base import Mark
from eventkit.worker import Stop

shop = Catalog("shop")


@shop.event
@dataclass(frozen=True)
class Ordered:
    """A customer ordered something."""

    customer: str
    amount: int


@shop.event
@dataclass(frozen=True)
class Left:
    """A customer left the shop for good."""

    customer: str


@shop.event
@dataclass(frozen=True)
class Noted:
    """Nobody's business."""

    text: str = ""


class Total(Protocol):
    """A row of the read model."""

    customer: str
    orders: int
    amount: int


TOTALS = Table(
    "totals",
    MetaData(),
    Column("customer", Text, primary_key=True),
    Column("orders", Integer, nullable=False, default=0),
    Column("amount", Integer, nullable=False, server_default="0"),
)
# The same, new rows of which are known without the database: they are written once, not created and read first.
KNOWN = Table(
    "totals",
    MetaData(),
    Column("customer", Text, primary_key=True),
    Column("orders", Integer, nullable=False, default=0),
    Column("amount", Integer, nullable=False, default=0),
)
CREATE = "create table totals (customer text primary key, orders int not null, amount int not null default 0)"


def totals(name: str = "totals", *, version: int = 1, categories: Sequence[str] = ()) -> TableProjection:
    """Return orders and amounts by customer; rows are fed by many streams, and deleted by some."""
    projection = TableProjection(name, shop, table=TOTALS, key="customer", version=version, categories=categories)

    @projection.on(Ordered)
    def ordered(row: Total, event: Ordered) -> None:
        if event.amount < 0:
            raise ValueError(f"{event.customer} ordered for {event.amount}")
        row.orders += 1
        row.amount += event.amount

    @projection.on(Left)
    def left(row: Total, event: Left) -> object:
        del row, event
        return DELETE

    return projection


def message(stream: str, version: int, event: object, *, event_id: uuid.UUID | None = None, **headers: str) -> Message:
    """Return an event as it comes off the wire; the same place gives the same id unless another is given."""
    kind, schema_version, data, _ = shop.encode(event)
    encoded = EncodedEvent(
        id=str(event_id or uuid.uuid5(uuid.NAMESPACE_OID, f"{stream} {version}")),
        source="shop",
        stream=stream,
        version=version,
        type=kind,
        schema_version=schema_version,
        data=data.encode(),
        time="2026-01-01T00:00:00Z",
    )
    found = message_of(encoded, "shop.order")
    found.headers = [(name, headers.pop(name, value)) for name, value in found.headers]
    found.headers += headers.items()
    return found


def orders(stream: str, count: int, *, customer: str = "ann", first: int = 1) -> list[Message]:
    """Return orders for 1 each."""
    return [message(stream, version, Ordered(customer, 1)) for version in range(first, first + count)]


def store(url: str, messages: Iterable[Message]) -> None:
    """Write messages into `events`, as their append would have."""
    with psycopg.connect(url) as connection:
        for item in messages:
            headers = dict(item.headers)
            connection.execute(
                "insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)"
                " values (%s, %s, %s, %s, %s, 1, %s::jsonb, '{}')",
                (
                    headers["ce_id"],
                    "shop",
                    item.key,
                    headers["ce_streamversion"],
                    headers["ce_type"],
                    item.value if isinstance(item.value, str) else item.value.decode(),
                ),
            )


def sent(url: str, stream: str) -> list[Message]:
    """Return a stream's events as they come off the wire."""
    with psycopg.connect(url) as connection:
        return OwnHistory(connection, "eventkit").between(stream, 0, 1_000, limit=1_000)


class Given:
    """A source of given batches, which remembers the acknowledged messages."""

    position = None
    ready = True

    def __init__(self, *batches: Sequence[Message]) -> None:
        """Give `batches`, then nothing."""
        self.batches = list(batches)
        self.acknowledged: list[Message] = []

    def receive(self) -> list[Message]:
        """Return the next batch."""
        return list(self.batches.pop(0)) if self.batches else []

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return none."""
        del messages
        return []

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Remember."""
        self.acknowledged += messages

    def close(self) -> None:
        """Do nothing."""


@contextmanager
def projector(
    url: str, projection: Projection | None = None, *, history: History | None = None, aside: SetAside | None = None
) -> Iterator[Projector]:
    """Run a projector on connections of its own."""
    projection, stop = projection or totals(), Stop()
    with ExitStack() as stack:
        lanes = [_lane(url, projection, stop, stack) for _ in range(projection.lanes)]
        own = OwnHistory(lanes[0].workspace.connection, "eventkit")
        running = Projector(lanes[0], history=history or own, stop=stop, aside=aside, lanes=lanes[1:])
        running.start()
        yield running


def _lane(url: str, projection: Projection, stop: Stop, stack: ExitStack) -> BatchApplier:
    workspace = projection.workspace(connect(url, name="projector", autocommit=False), interrupted=stop.is_set)
    stack.callback(workspace.close)
    return BatchApplier(projection, workspace, schema="eventkit")


def apply(url: str, *batches: Sequence[Message], projection: Projection | None = None) -> Projector:
    """Apply batches with a new projector; return it, closed, for its counters."""
    with projector(url, projection) as running:
        for batch in batches:
            running.apply(batch)
    return running


def rows(url: str, statement: str = "select customer, orders, amount from totals order by 1") -> list[tuple[Any, ...]]:
    """Return the rows of the database."""
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


def checkpoints(url: str) -> dict[str, tuple[int, bool]]:
    """Return version and parked, by stream."""
    found = rows(url, "select stream, version, parked from eventkit.checkpoints")
    return {stream: (version, parked) for stream, version, parked in found}


def letters(url: str) -> list[tuple[Any, ...]]:
    """Return stream, version and cause of the dead letters."""
    return rows(url, "select stream, version, cause from eventkit.dead_letters order by stream, version, id")
