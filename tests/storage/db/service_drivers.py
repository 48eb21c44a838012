"""Each way in which a service may be connected, behind one face: a transaction, a statement of its own, a call."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import django
import django.conf
import django.db
import psycopg
import psycopg_pool
import sqlalchemy as sa
from django.db import transaction
from django.db.utils import ConnectionHandler
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.storage.shop import sqlalchemy_url

Transaction = Callable[[str], AbstractAsyncContextManager[Any]]
ALIAS = "events"


def asyncpg_url(url: str) -> str:
    """Return the URL as SQLAlchemy wants it for asyncpg."""
    return url.replace("postgresql://", "postgresql+asyncpg://")


def asyncpg_options(url: str) -> dict[str, Any]:
    """Return a URL as the arguments of asyncpg, which takes no encoded path of a socket."""
    parts = conninfo_to_dict(url)
    named = {"host": "host", "port": "port", "user": "user", "password": "password", "dbname": "database"}
    return {name: parts[key] for key, name in named.items() if parts.get(key) is not None}


@asynccontextmanager
async def _psycopg(url: str) -> AsyncIterator[psycopg.Connection]:
    with psycopg.connect(url) as connection:
        yield connection


@asynccontextmanager
async def _psycopg_pool(url: str) -> AsyncIterator[psycopg.Connection]:
    with psycopg_pool.ConnectionPool(url, min_size=1, open=True) as pool, pool.connection() as connection:
        yield connection


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[Session]:
    engine = sa.create_engine(sqlalchemy_url(url), poolclass=sa.NullPool)
    with Session(engine) as session, session.begin():
        yield session


@asynccontextmanager
async def _django(url: str) -> AsyncIterator[Any]:
    connection = django_connection(url)
    try:
        with transaction.atomic(using=ALIAS):
            yield connection
    finally:
        connection.close()


def django_connection(url: str, engine: str = "django.db.backends.postgresql") -> Any:
    """Return Django's connection to a database, outside of a transaction."""
    if not django.conf.settings.configured:
        django.conf.settings.configure(USE_TZ=True, DATABASES={})
        django.setup()
    parts = conninfo_to_dict(url) if "postgresql" in engine else {"dbname": ":memory:"}
    settings = {
        "ENGINE": engine,
        "NAME": parts["dbname"],
        **{name: str(parts.get(name.lower(), "")) for name in ("USER", "PASSWORD", "HOST", "PORT")},
    }
    connection = ConnectionHandler({"default": {}, ALIAS: settings})[ALIAS]
    django.db.connections[ALIAS] = connection
    return connection


@asynccontextmanager
async def _psycopg_async(url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection


@asynccontextmanager
async def _psycopg_async_pool(url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with psycopg_pool.AsyncConnectionPool(url, min_size=1, open=False) as pool, pool.connection() as connection:
        yield connection


@asynccontextmanager
async def _asyncpg(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**asyncpg_options(url))
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _asyncpg_pool(url: str) -> AsyncIterator[Any]:
    async with (
        asyncpg.create_pool(**asyncpg_options(url), min_size=1) as pool,
        pool.acquire() as connection,
        connection.transaction(),
    ):
        yield connection


@asynccontextmanager
async def _async_session(url: str) -> AsyncIterator[AsyncSession]:
    engine = create_async_engine(sqlalchemy_url(url), poolclass=sa.NullPool)
    async with AsyncSession(engine) as session, session.begin():
        yield session


@asynccontextmanager
async def _asyncpg_session(url: str) -> AsyncIterator[AsyncSession]:
    engine = create_async_engine(asyncpg_url(url), poolclass=sa.NullPool)
    async with AsyncSession(engine) as session, session.begin():
        yield session


@asynccontextmanager
async def _asyncpg_engine(url: str) -> AsyncIterator[Any]:
    engine = create_async_engine(asyncpg_url(url), poolclass=sa.NullPool)
    async with engine.begin() as connection:
        yield connection


@dataclass(frozen=True)
class ServiceDriver:
    """A way to be connected; `waits` says whether it is asynchronous."""

    name: str
    transaction: Transaction
    waits: bool = True

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a test; that of a synchronous driver without an event loop, which Django would refuse."""
        if self.waits:
            asyncio.run(work)
            return
        try:
            work.send(None)
        except StopIteration:
            return
        raise AssertionError(f"{self.name} waited")

    async def call(self, method: Any, *args: Any, **options: Any) -> Any:
        """Call a function of eventkit's, or its asynchronous twin; read events come as a list."""
        if self.waits:
            home = method.__self__ if inspect.ismethod(method) else inspect.getmodule(method)
            method = getattr(home, f"{method.__name__}_async")
        found = method(*args, **options)
        if inspect.isawaitable(found):
            return await found
        if hasattr(found, "__aiter__"):
            return [one async for one in found]
        return list(found) if inspect.isgenerator(found) else found

    async def execute(self, connection: Any, statement: str) -> None:
        """Run a statement of the service's own."""
        if hasattr(connection, "cursor") and hasattr(connection, "vendor"):
            with connection.cursor() as cursor:
                cursor.execute(statement)
            return
        query = sa.text(statement) if isinstance(connection, Session | AsyncSession) else statement
        function = getattr(connection, "exec_driver_sql", connection.execute)
        found = function(query)
        if inspect.isawaitable(found):
            await found


DRIVERS = (
    ServiceDriver("psycopg", _psycopg, waits=False),
    ServiceDriver("psycopg_pool", _psycopg_pool, waits=False),
    ServiceDriver("session", _session, waits=False),
    ServiceDriver("django", _django, waits=False),
    ServiceDriver("psycopg_async", _psycopg_async),
    ServiceDriver("psycopg_async_pool", _psycopg_async_pool),
    ServiceDriver("async_session", _async_session),
    ServiceDriver("asyncpg", _asyncpg),
    ServiceDriver("asyncpg_pool", _asyncpg_pool),
    ServiceDriver("asyncpg_session", _asyncpg_session),
    ServiceDriver("asyncpg_connection", _asyncpg_engine),
)
BY_NAME = {driver.name: driver for driver in DRIVERS}
