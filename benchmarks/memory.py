"""How much memory each process takes at its peak, however large the events are that wait for it.

Three stores: events of some 900 KB, half of which compress well and half of which hardly do; small ones; and small ones
with large ones behind them. Each run is the command, as an operator runs it, or a short program; a rebuild's memory is
the sum of its processes' peaks. `operator` has all events in one stream, which is parked at its first event. `folds`
has small events that make large rows, and many commands. On each broker the relay empties the outbox, then a projector
reads the topic into another database, so that nothing comes from the store; then large direct messages are sent.
"""

from collections.abc import Iterator
from typing import NamedTuple

import click
import psycopg
from sqlalchemy.schema import CreateTable

from benchmarks.given import Given, given
from benchmarks.measure import last_line
from benchmarks.memory_folds import of_folds
from benchmarks.memory_messages import of_messages
from benchmarks.memory_operators import of_operator
from benchmarks.memory_readers import READERS
from benchmarks.memory_watch import CLI, await_done, peak, watched
from benchmarks.orders import catalog, metadata
from benchmarks.servers import PostgresServer
from eventkit.transports import open_transport
from tests import servers

BOUND = 250  # MB
ORIGINS = ("store", "operator", "folds", "kafka", "rabbitmq", "redis", "activemq")
SIZES = ("large", "small", "mixed")
_FILL = """
with noise as materialized (select string_agg(md5(i::text), '') as text from generate_series(1, %(bytes)s / 32) i)
insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
select gen_random_uuid(), 'bench', 'order-' || n %% %(streams)s, n / %(streams)s + 1, 'ItemOrdered', 1,
       jsonb_build_object('order', 'order-' || n %% %(streams)s, 'customer', 'c-' || n %% 97, 'amount', 1, 'note',
         case when n < %(small)s then repeat('x', 60) when n %% 2 = 0 then repeat('x', %(bytes)s)
              else substr(noise.text, n) || left(noise.text, n - 1) end), '{}'
  from generate_series(0, %(events)s - 1) n, noise"""
_STREAMS = """insert into eventkit.streams (stream, version)
              select 'order-' || n, %(each)s from generate_series(0, %(streams)s - 1) n"""
_OUTBOX = """insert into eventkit.outbox (position, topic, shard, bytes)
  select position, %(topic)s, 0, octet_length(data::text) from eventkit.events"""
_PATH = "benchmarks.orders:order_totals"
_TOPIC = catalog.topic("order")
_LARGE, _EACH = 880_000, 10  # bytes; versions of a stream
_FEW = 10_000  # small events before the large ones
_MOST_FOLDED = 4_000  # events, each of which makes 100 KB of a row and 200 KB of commands
_GROUP = "memory"


class Size(NamedTuple):
    """The size of a store: so many events, of which the first are small."""

    name: str
    events: int
    small: int


def fill(url: str, size: Size, *, each: int = _EACH) -> None:
    """Fill a store, some events a stream."""
    streams = max(1, size.events // each)
    params = {"events": streams * each, "streams": streams, "bytes": _LARGE, "each": each, "small": size.small}
    with psycopg.connect(url) as connection:
        _create(connection)
        connection.execute(_STREAMS, params)
        connection.execute(_FILL, params)


def _create(connection: psycopg.Connection[object]) -> None:
    connection.execute(CreateTable(metadata.tables["order_totals"]).compile().string.encode())


def of_store(server: PostgresServer, size: Size, workers: int) -> Iterator[tuple[str, float]]:
    """Yield the peaks of those that read the store."""
    url = server.fresh()
    fill(url, size)
    yield "projector", peak(url, CLI, "projector", "run", _PATH, "--from", "store", "--until-idle", "1")
    yield "rebuild", peak(url, CLI, "projection", "rebuild", _PATH, "--workers", str(workers))
    for name in READERS:
        yield name, peak(url, "benchmarks.memory_readers", name, url, str(size.events // _EACH * _EACH))
    server.drop(url)


def of_broker(server: PostgresServer, size: Size, broker: str, address: str) -> Iterator[tuple[str, float]]:
    """Yield the peaks of a relay and of a projector on one broker."""
    store, models = server.fresh(), server.fresh()
    fill(store, size)
    with psycopg.connect(models) as connection:
        _create(connection)
    transport = open_transport(address)
    transport.create_topics([_TOPIC], partitions=6)
    transport.subscribe([_TOPIC], _GROUP).close()
    with psycopg.connect(store, autocommit=True) as connection:
        connection.execute(_OUTBOX, {"topic": _TOPIC})
        peaks: list[float] = []
        with watched(store, [CLI, "--transport-url", address, "relay", "run"], peaks) as relay:
            await_done(lambda: _count(connection, "eventkit.outbox") == 0, relay)
            relay.terminate()
    yield f"relay_{broker}", peaks[0]
    words = ["--transport-url", address, "projector", "run", _PATH, "--topic", _TOPIC, "--group", _GROUP]
    with psycopg.connect(models, autocommit=True) as connection:
        peaks = []
        with watched(models, [CLI, *words], peaks) as projector:
            wanted = size.events // _EACH * _EACH
            await_done(lambda: _count(connection, "order_totals", "coalesce(sum(orders), 0)") == wanted, projector)
            projector.terminate()
    yield f"projector_{broker}", peaks[0]
    transport.close()
    server.drop(store)
    server.drop(models)


def _count(connection: psycopg.Connection[object], table: str, what: str = "count(*)") -> int:
    row = connection.execute(f"select {what} from {table}".encode()).fetchone()
    return int(row[0]) if row else 0  # type: ignore[index]


@click.command()
@given(broker=False, rounds=1)
@click.option("--large", type=click.IntRange(10), default=600, show_default=True, help="Events of 900 KB.")
@click.option("--small", type=click.IntRange(10), default=200_000, show_default=True, help="Events of 200 bytes.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Of the rebuild.")
@click.option("--from", "origins", multiple=True, type=click.Choice(ORIGINS), help="Only this; may be repeated.")
@click.option("--size", "chosen", multiple=True, type=click.Choice(SIZES), help="Only this; may be repeated.")
def command(
    given: Given, *, large: int, small: int, workers: int, origins: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    """Measure each process's peak of memory, in MB."""
    figures: dict[str, float] = {}
    few = min(small, _FEW)
    all_sizes = [Size("large", large, 0), Size("small", small, small), Size("mixed", large + few, few)]
    with given.server() as server:
        for size in [size for size in all_sizes if size.name in (chosen or SIZES)]:
            for origin in origins or ORIGINS:
                for name, megabytes in _measured(server, size, origin, workers):
                    figures[f"{name}_{size.name}_mb"] = megabytes
                    click.echo(f"{name:20} {size.name:6} {megabytes:6.0f}", err=True)
    last_line(figures)


def _measured(server: PostgresServer, size: Size, origin: str, workers: int) -> Iterator[tuple[str, float]]:
    if origin == "store":
        yield from of_store(server, size, workers)
        return
    if origin == "folds":
        url = server.fresh()
        few = Size(size.name, min(size.events, _MOST_FOLDED), size.small)
        yield from of_folds(url, lambda: fill(url, few))
        server.drop(url)
        return
    if origin == "operator":
        url = server.fresh()
        yield from of_operator(url, lambda: fill(url, size, each=size.events))
        server.drop(url)
        return
    broker = servers.start(origin)
    try:
        yield from of_broker(server, size, origin, broker.url)
        if size.name == "large":
            url = server.fresh()
            yield from of_messages(url, broker.url, origin, size.events)
            server.drop(url)
    finally:
        broker.stop()
