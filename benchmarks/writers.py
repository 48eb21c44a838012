"""The ways of appending that are compared: eventkit, the same rows by hand, on psycopg and on a Session, and a peer."""

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import msgspec
import psycopg
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from benchmarks.peer_writer import eventsourcing
from benchmarks.way import NOTE, Way
from eventkit import Catalog, EventStore, Inline, TableProjection
from eventkit.storage.tables import SHARDS

PSYCOPG, BARE_PSYCOPG = "eventkit, psycopg", "by hand, psycopg"
SESSION, BARE_SESSION = "eventkit, Session", "by hand, Session"
INLINE = "eventkit, psycopg, inline"
INLINE_SHARED = "eventkit, psycopg, inline, one row"
TAGGED = "eventkit, psycopg, two tags"
TAGS = 5_000
PEER = "eventsourcing"

_ONE = """
with s as (
  insert into eventkit.streams as t (stream, version) values ({stream}, 1)
  on conflict (stream) do update set version = t.version + 1 returning version
), e as (
  insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
  select {id}, 'bench', {stream}, version, 'OrderPlaced', 1, {data}, '{{}}' from s returning position, version
), o as (
  insert into eventkit.outbox (position, topic, shard, bytes) select position, 'bench.order', {shard}, {bytes} from e
)
select version, position from e"""

_MANY = """
with s as (
  insert into eventkit.streams as t (stream, version) values ({stream}, {count})
  on conflict (stream) do update set version = t.version + excluded.version returning version
), e as (
  insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
  select d.id, 'bench', {stream}, s.version - {count} + d.nth, 'OrderPlaced', 1, d.data, '{{}}'
    from s, unnest({ids}, {data}) with ordinality d(id, data, nth) order by d.nth returning position, version
), o as (
  insert into eventkit.outbox (position, topic, shard, bytes) select position, 'bench.order', {shard}, {bytes} from e
)
select version, position from e order by version desc limit 1"""

_TYPES = {
    "stream": "text", "id": "uuid", "data": "jsonb", "ids": "uuid[]", "shard": "smallint", "bytes": "int",
    "count": "int",
}  # fmt: skip

bench = Catalog("bench")


@bench.event
@dataclass(frozen=True)
class OrderPlaced:
    customer: str
    total: str
    note: str


def eventkit_psycopg(url: str, open_: ExitStack) -> Way:
    """Append on a psycopg connection."""
    connection, store = open_.enter_context(psycopg.connect(url)), EventStore(bench)

    def append(key: str, count: int) -> None:
        store.append(connection, bench.stream("order", key), *_events(count))
        connection.commit()

    return append


def eventkit_tagged(url: str, open_: ExitStack) -> Way:
    """Append on a psycopg connection, each event with two tags of many."""
    connection, store, chance = open_.enter_context(psycopg.connect(url)), EventStore(bench), random.Random()

    def append(key: str, count: int) -> None:
        tags = [f"customer:{chance.randrange(TAGS)}", f"product:{chance.randrange(TAGS)}"]
        store.append(connection, bench.stream("order", key), *_events(count), tags=tags)
        connection.commit()

    return append


def eventkit_inline(url: str, open_: ExitStack) -> Way:
    """Append on a psycopg connection to a store with a table projection inline: a row a stream."""
    return _inline(url, open_, "inline", lambda _, envelope: str(envelope.stream))


def eventkit_inline_shared(url: str, open_: ExitStack) -> Way:
    """Do that with one row, which all writers change."""
    return _inline(url, open_, "shared", lambda _: "all")


def _inline(url: str, open_: ExitStack, category: str, key: Callable[..., str]) -> Way:
    """Append to a category of its own, whose streams are in the checkpoints of the projection from their beginning."""
    name = f"orders_{category}"
    table = Table(name, MetaData(), Column("stream", Text, primary_key=True), Column("placed", Integer, default=0))
    orders = TableProjection(name, bench, table=table, key="stream", categories=[category])

    @orders.on(OrderPlaced, key=key)
    def placed(row: Any, _: OrderPlaced) -> None:  # noqa: ANN401 a row of any table
        row.placed += 1

    connection, store = open_.enter_context(psycopg.connect(url)), EventStore(bench, inline=Inline(orders))

    def append(key: str, count: int) -> None:
        store.append(connection, bench.stream(category, key), *_events(count))
        connection.commit()

    return append


def by_hand_psycopg(url: str, open_: ExitStack) -> Way:
    """Execute one statement on a psycopg connection."""
    connection = open_.enter_context(psycopg.connect(url))
    one, many = _written("%({})s"), _written("%({})s", many=True)

    def append(key: str, count: int) -> None:
        connection.execute(one if count == 1 else many, _params(key, count)).fetchone()
        connection.commit()

    return append


def eventkit_session(url: str, open_: ExitStack) -> Way:
    """Append in a Session of its own."""
    engine, store = create_engine(_sqlalchemy(url)), EventStore(bench)
    open_.callback(engine.dispose)

    def append(key: str, count: int) -> None:
        with Session(engine) as session:
            store.append(session, bench.stream("order", key), *_events(count))
            session.commit()

    return append


def by_hand_session(url: str, open_: ExitStack) -> Way:
    """Execute one text() in a Session of its own."""
    engine = create_engine(_sqlalchemy(url))
    open_.callback(engine.dispose)
    one, many = text(_written("cast(:{} as {})")), text(_written("cast(:{} as {})", many=True))

    def append(key: str, count: int) -> None:
        with Session(engine) as session:
            session.execute(one if count == 1 else many, _params(key, count)).fetchone()
            session.commit()

    return append


WAYS: dict[str, Callable[[str, ExitStack], Way]] = {
    PSYCOPG: eventkit_psycopg,
    BARE_PSYCOPG: by_hand_psycopg,
    INLINE: eventkit_inline,
    INLINE_SHARED: eventkit_inline_shared,
    TAGGED: eventkit_tagged,
    SESSION: eventkit_session,
    BARE_SESSION: by_hand_session,
    PEER: eventsourcing,
}


def create_read_model(url: str) -> None:
    """Create the tables that are written inline."""
    with psycopg.connect(url) as connection:
        for name in ("orders_inline", "orders_shared"):
            connection.execute(f"create table {name} (stream text primary key, placed int not null)".encode())


def _events(count: int) -> list[OrderPlaced]:
    return [OrderPlaced(f"customer-{number}", "12.50", NOTE) for number in range(count)]


def _params(key: str, count: int) -> dict[str, Any]:
    stream = f"order-{key}"
    data = [msgspec.json.encode(event).decode() for event in _events(count)]
    same = {"stream": stream, "shard": crc32(stream.encode()) % SHARDS, "bytes": len(data[0]) + 2}
    if count == 1:
        return {**same, "id": uuid7(), "data": data[0]}
    return {**same, "count": count, "ids": [uuid7() for _ in data], "data": data}


def _written(style: str, *, many: bool = False) -> str:
    types = {**_TYPES, "data": "jsonb[]"} if many else _TYPES
    if style.startswith("%"):
        style += "::{}"
    return (_MANY if many else _ONE).format(**{name: style.format(name, kind) for name, kind in types.items()})


def _sqlalchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")
