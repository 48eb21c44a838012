"""The connections for an append: SQLAlchemy's and psycopg's, sync and async; others are refused, in a sentence."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import psycopg2
import psycopg_pool
import pytest
import sqlalchemy
from psycopg import AsyncConnection
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from eventkit.errors import ConcurrencyError, UnsupportedConnection
from eventkit.storage.events.event_store import NO_STREAM, Append, EventStore
from tests.storage.shop import ORDER, OTHER, Placed, shop, sqlalchemy_url, store, written


class ServiceTable(DeclarativeBase):
    """The service's own tables."""


class Order(ServiceTable):
    """Its state."""

    __tablename__ = "orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    total: Mapped[int] = mapped_column(default=0)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The service's engine, with its table."""
    engine = sqlalchemy.create_engine(sqlalchemy_url(database_url))
    ServiceTable.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
async def async_engine(engine: Engine) -> AsyncIterator[AsyncEngine]:
    """The same, asynchronous."""
    async_engine = create_async_engine(engine.url)
    yield async_engine
    await async_engine.dispose()


def test_a_session_commits_state_and_events_together(database_url: str, engine: Engine) -> None:
    """Both or neither."""
    for commit in (False, True):
        with Session(engine) as session:
            session.add(Order(id="a", total=1))
            store.append(session, ORDER, Placed(int(commit)), expected=NO_STREAM)
            (session.commit if commit else session.rollback)()

    with Session(engine) as session:
        assert session.get_one(Order, "a").total == 1
        assert [envelope.event for envelope in store.read_stream(session, ORDER)] == [Placed(1)]
    assert written(database_url) == {ORDER: [1]}


def test_pending_state_is_flushed_before_the_streams_are_locked(engine: Engine) -> None:
    """As before a query: so transactions lock rows first and streams after them, and do not deadlock."""
    with Session(engine) as session:
        session.add(Order(id="a"))
        store.append(session, ORDER, Placed())

        assert not session.new
        assert session.connection().exec_driver_sql("select id from orders").scalars().all() == ["a"]


def test_a_session_that_does_not_autoflush_is_not_flushed(engine: Engine) -> None:
    """A caller that has switched it off, or is within no_autoflush, decides itself."""
    with Session(engine) as session, session.no_autoflush:
        session.add(Order(id="a"))
        store.append(session, ORDER, Placed())

        assert len(session.new) == 1


def test_an_append_within_a_flush_joins_it(database_url: str, engine: Engine) -> None:
    """An event listener of the service's may append."""
    with Session(engine) as session:
        sqlalchemy.event.listen(session, "before_flush", lambda one, *_: store.append(one, ORDER, Placed(1)))
        session.add(Order(id="a"))
        session.commit()

    assert written(database_url) == {ORDER: [1]}


def test_a_sessions_nested_transaction_takes_its_events_back(database_url: str, engine: Engine) -> None:
    """Savepoints are respected, and a conflict does not end the session's transaction."""
    with Session(engine) as session, session.begin():
        store.append(session, ORDER, Placed(1))
        nested = session.begin_nested()
        store.append(session, ORDER, Placed(2))
        nested.rollback()
        with pytest.raises(ConcurrencyError):
            store.append_many(session, [Append(OTHER, [Placed()]), Append(ORDER, [Placed()], expected=7)])
        session.add(Order(id="after"))
        store.append(session, ORDER, Placed(3), expected=1)

    with Session(engine) as session:
        assert session.get(Order, "after") is not None
    assert written(database_url) == {ORDER: [1, 3]}


def test_a_session_with_several_binds_gets_an_error_with_the_argument(database_url: str, engine: Engine) -> None:
    """`bind_arguments` say it; without them the error does."""
    with Session(binds={Order: engine}) as session:
        with pytest.raises(UnsupportedConnection, match="bind_arguments"):
            store.append(session, ORDER, Placed())
        binds: list[dict[str, Any]] = [{"mapper": Order}, {"bind": engine}]
        for n, arguments in enumerate(binds):
            told = EventStore(shop, bind_arguments=arguments)
            told.append(session, ORDER, Placed(n))
            assert len(list(told.read_stream(session, ORDER))) == n + 1
        session.commit()

    assert written(database_url) == {ORDER: [0, 1]}


def test_connections_and_scoped_sessions_are_taken(database_url: str, engine: Engine) -> None:
    """Core as well as the ORM."""
    with engine.begin() as connection:
        store.append(connection, ORDER, Placed(1))
        nested = connection.begin_nested()
        store.append(connection, ORDER, Placed(2))
        nested.rollback()
    scoped = scoped_session(sessionmaker(engine))
    store.append(scoped, ORDER, Placed(3))
    assert [envelope.event.n for envelope in store.read_all(scoped)] == [1, 3]
    scoped.commit()
    scoped.remove()

    assert written(database_url) == {ORDER: [1, 3]}


async def test_an_async_session_commits_state_and_events_together(database_url: str, async_engine: AsyncEngine) -> None:
    """The same promises behind await."""
    async with AsyncSession(async_engine) as session:
        session.add(Order(id="a"))
        await store.append_async(session, ORDER, Placed(1), expected=NO_STREAM)
        with pytest.raises(ConcurrencyError):
            await store.append_async(session, ORDER, Placed(9), expected=5)
        with pytest.raises(ConcurrencyError):
            await store.append_many_async(session, [Append(OTHER, [Placed()]), Append(ORDER, [Placed()], expected=5)])
        await session.commit()
        assert [envelope.event.n async for envelope in store.read_stream_async(session, ORDER)] == [1]
        assert [envelope.event.n async for envelope in store.read_all_async(session, batch=1)] == [1]

    assert written(database_url) == {ORDER: [1]}


async def test_an_async_connection_and_a_scoped_async_session_are_taken(
    database_url: str, async_engine: AsyncEngine
) -> None:
    """Core as well as the ORM."""
    async with async_engine.begin() as connection:
        await store.append_async(connection, ORDER, Placed(1))
    scoped = async_scoped_session(async_sessionmaker(async_engine), scopefunc=lambda: 1)
    await store.append_async(scoped, ORDER, Placed(2))
    await scoped.commit()
    await scoped.remove()

    assert written(database_url) == {ORDER: [1, 2]}


async def test_a_psycopg_async_connection_is_taken(database_url: str) -> None:
    """With savepoints of the caller's and ours."""
    async with await AsyncConnection.connect(database_url) as connection:
        await store.append_async(connection, ORDER, Placed(1), Placed(2))
        async with connection.transaction() as nested:
            await store.append_async(connection, ORDER, Placed(3))
            raise psycopg.Rollback(nested)
        with pytest.raises(ConcurrencyError):
            await store.append_many_async(
                connection, [Append(OTHER, [Placed()]), Append(ORDER, [Placed()], expected=7)]
            )
        read = [envelope.event.n async for envelope in store.read_stream_async(connection, ORDER, backwards=True)]

    assert read == [2, 1]
    assert written(database_url) == {ORDER: [1, 2]}


def test_within_transaction_an_autocommit_connection_is_fine(database_url: str) -> None:
    """psycopg: `with connection.transaction():`."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        with connection.transaction():
            store.append(connection, ORDER, Placed(1))
        with connection.pipeline(), connection.transaction():
            store.append(connection, ORDER, Placed(2))

    assert written(database_url) == {ORDER: [1, 2]}


async def test_autocommit_is_refused(database_url: str, engine: Engine, async_engine: AsyncEngine) -> None:
    """Events would not belong to the transaction of the service's rows. Reading may be done so."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        with pytest.raises(UnsupportedConnection, match="autocommit"):
            store.append(connection, ORDER, Placed())
        assert list(store.read_all(connection)) == []
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection, pytest.raises(UnsupportedConnection, match="autocommit"):
        store.append(connection, ORDER, Placed())
    with Session(autocommit) as session, pytest.raises(UnsupportedConnection, match="autocommit"):
        store.append_many(session, [Append(ORDER, [Placed()])])
    async with AsyncSession(async_engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        with pytest.raises(UnsupportedConnection, match="autocommit"):
            await store.append_async(session, ORDER, Placed())
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        with pytest.raises(UnsupportedConnection, match="autocommit"):
            await store.append_async(connection, ORDER, Placed())

    assert written(database_url) == {}


async def test_an_asynchronous_session_gets_the_name_of_the_other_function(
    database_url: str, engine: Engine, async_engine: AsyncEngine
) -> None:
    """And a synchronous one likewise: a TypeError that names it."""
    async with AsyncSession(async_engine) as session, async_engine.connect() as connection:
        for one in (session, connection):
            wrong: Any = one
            with pytest.raises(TypeError, match=r"await append_async\("):
                store.append(wrong, ORDER, Placed())
            with pytest.raises(TypeError, match=r"await append_many_async\("):
                store.append_many(wrong, [Append(ORDER, [Placed()])])
            with pytest.raises(TypeError, match=r"read_stream_async\("):
                store.read_stream(wrong, ORDER)
    with Session(engine) as session, psycopg.connect(database_url) as connection:
        for other in (session, connection):
            wrong = other
            with pytest.raises(TypeError, match=r"call `append\("):
                await store.append_async(wrong, ORDER, Placed())
            with pytest.raises(TypeError, match=r"call `read_all\("):
                store.read_all_async(wrong)


def test_other_drivers_are_refused(engine: Engine) -> None:
    """SQLite, an engine, a sessionmaker, nothing at all: each is named, and so are the accepted kinds."""
    refused = pytest.raises(UnsupportedConnection, match=r"sqlite\+pysqlite: .*postgresql\+psycopg")
    with Session(sqlalchemy.create_engine("sqlite://")) as session, refused:
        store.append(session, ORDER, Placed())
    for wrong in (sqlite3.connect(":memory:"), engine, sessionmaker(engine), None, "postgresql://"):
        with pytest.raises(UnsupportedConnection, match=r"psycopg\.Connection"):
            store.append(wrong, ORDER, Placed())  # type: ignore[arg-type]


def test_psycopg2_is_refused(database_url: str) -> None:
    """The driver is named, and the URL that is wanted; a bare connection likewise."""
    with psycopg2.connect(database_url) as bare, pytest.raises(UnsupportedConnection, match=r"psycopg2\S+ cannot be"):
        store.append(bare, ORDER, Placed())
    engine = sqlalchemy.create_engine(database_url.replace("postgresql://", "postgresql+psycopg2://"))

    with engine.connect() as connection, pytest.raises(UnsupportedConnection, match=r"postgresql\+psycopg2"):
        store.append(connection, ORDER, Placed())

    engine.dispose()


async def test_pools_and_engines_are_refused_and_the_error_names_an_alternative(
    database_url: str, async_engine: AsyncEngine
) -> None:
    """They lend connections; one statement would not be where the next one is."""
    with psycopg_pool.ConnectionPool(database_url, min_size=1, open=True) as pool:
        for wrong in (pool, async_engine.sync_engine):
            with pytest.raises(UnsupportedConnection, match="it makes connections, use one of them"):
                store.append(wrong, ORDER, Placed())  # type: ignore[arg-type]
    with pytest.raises(UnsupportedConnection, match="it makes connections, use one of them"):
        await store.append_async(async_engine, ORDER, Placed())  # type: ignore[arg-type]


def test_a_refusal_shows_no_password(database_url: str) -> None:
    """A URL that was given instead of a connection is not repeated."""
    secret = database_url.replace("postgresql://", "postgresql://ann:hunter2@")
    with pytest.raises(UnsupportedConnection, match=r"a str cannot be used here") as caught:
        store.append(secret, ORDER, Placed())  # type: ignore[arg-type]

    assert "hunter2" not in str(caught.value)
