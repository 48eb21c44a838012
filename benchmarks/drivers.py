"""How many appends a second each asynchronous driver of a service reaches, in turns, over one connection of each."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
import click
import psycopg
from psycopg.conninfo import conninfo_to_dict
from rich.progress import track
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from benchmarks.given import Given, given, machine
from benchmarks.measure import Meter, Rounds, Sample, last_line, show
from benchmarks.way import NOTE
from eventkit import Catalog, EventStore

PSYCOPG, ASYNCPG = "psycopg.AsyncConnection", "asyncpg.Connection"
PSYCOPG_SESSION, ASYNCPG_SESSION = "AsyncSession over psycopg", "AsyncSession over asyncpg"
COMPARED = {ASYNCPG: PSYCOPG, ASYNCPG_SESSION: PSYCOPG_SESSION}
WARM, STREAMS = 30, 1_000
NOTES = (
    "one transaction: begin, append an event of 200 bytes to one of 1,000 streams, commit; one process, one "
    "connection; the ratio is that of asyncpg to psycopg"
)
Append = Callable[[int], Awaitable[None]]
bench = Catalog("bench")
store = EventStore(bench)


@bench.event
@dataclass(frozen=True)
class Noted:
    at: int
    note: str


async def append(connection: Any, nth: int) -> None:  # noqa: ANN401 of any driver
    await store.append_async(connection, bench.stream("noted", nth % STREAMS), Noted(nth, NOTE))


@asynccontextmanager
async def on_psycopg(url: str) -> AsyncIterator[Append]:
    async with await psycopg.AsyncConnection.connect(url) as connection:

        async def once(nth: int) -> None:
            await append(connection, nth)
            await connection.commit()

        yield once


@asynccontextmanager
async def on_asyncpg(url: str) -> AsyncIterator[Append]:
    parts = conninfo_to_dict(url)  # asyncpg takes no encoded path of a socket
    names = {"host": "host", "port": "port", "user": "user", "password": "password", "dbname": "database"}
    connection = await asyncpg.connect(**{names[name]: part for name, part in parts.items() if name in names})

    async def once(nth: int) -> None:
        async with connection.transaction():
            await append(connection, nth)

    yield once
    await connection.close()


@asynccontextmanager
async def on_session(url: str, driver: str) -> AsyncIterator[Append]:
    engine = create_async_engine(url.replace("postgresql://", f"postgresql+{driver}://"), poolclass=NullPool)
    async with engine.connect() as connection:

        async def once(nth: int) -> None:
            async with AsyncSession(connection) as session:
                await append(session, nth)
                await session.commit()

        yield once
    await engine.dispose()


WAYS: dict[str, Callable[[str], AbstractAsyncContextManager[Append]]] = {
    PSYCOPG: on_psycopg,
    ASYNCPG: on_asyncpg,
    PSYCOPG_SESSION: partial(on_session, driver="psycopg"),
    ASYNCPG_SESSION: partial(on_session, driver="asyncpg"),
}


async def measure(url: str, way: str, seconds: float) -> Sample:
    """Append for a while."""
    async with WAYS[way](url) as once:
        for nth in range(WARM):
            await once(nth)
        meter, begin, count = Meter(), time.monotonic(), 0
        while time.monotonic() - begin < seconds:
            await once(count)
            count += 1
        return meter.sample(count, time.monotonic() - begin)


@click.command("drivers")
@given(broker=False, rounds=7)
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Of each measurement.")
def command(shared: Given, *, seconds: float) -> None:
    """Append over each asynchronous driver."""
    rounds, order = Rounds(), list(WAYS)
    with shared.database() as (url, version):
        for _ in track(range(shared.rounds), "rounds", console=shared.console):
            order.reverse()
            for way in order:
                rounds.add(way, asyncio.run(measure(url, way, seconds)))
    title = f"appends, one connection, PostgreSQL {version}, {machine()}"
    show(
        rounds.table(title, "ratio", lambda way: rounds.ratio(way, COMPARED.get(way, way))),
        shared.console,
        NOTES,
    )
    if shared.as_json:
        last_line(
            {
                "asyncpg_ratio_to_psycopg": rounds.ratio(ASYNCPG, PSYCOPG),
                "asyncpg_session_ratio_to_psycopg_session": rounds.ratio(ASYNCPG_SESSION, PSYCOPG_SESSION),
                **{f"{way} events per second": rounds.rate(way) for way in WAYS},
            }
        )
