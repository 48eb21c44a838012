"""Peculiarities of asyncpg: codecs, its statement cache, cancellation, pools, autocommit, a pooler in front of it."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from eventkit import Privacy
from eventkit.errors import ConcurrencyError, UnsupportedConnection
from eventkit.storage.db.asyncpg_statements import numbered
from eventkit.storage.events.event_store import ANY, Append
from tests.storage import people
from tests.storage.db.service_drivers import BY_NAME, asyncpg_options, asyncpg_url
from tests.storage.shop import ORDER, OTHER, Placed, check_tables, order, store, written
from tests.storage.tags.courses import Subscribed, school, seats_of
from tests.storage.tags.courses import store as courses

HARD = "\"'\\ {},null %s %% $1 \n\t ☃ 𝄞"
CODED = ("json", "jsonb", "uuid", "timestamptz", "int2", "int4", "int8", "bool", "numeric", "text", "varchar")


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the service's, in no transaction."""
    connection = await asyncpg.connect(**asyncpg_options(database_url))
    yield connection
    await connection.close()


def _useless(value: object) -> str:
    return f"coded {value}"


class OddRecord(asyncpg.Record):
    """A service's own record, which is no row any more."""

    def __iter__(self) -> Any:
        return iter(["odd"])


async def test_codecs_of_the_service_have_no_part_in_ours(database_url: str) -> None:
    """For each type that a statement could use, and a record class: values are read as they were written."""
    connection = await asyncpg.connect(**asyncpg_options(database_url), record_class=OddRecord)
    for name in CODED:
        await connection.set_type_codec(name, schema="pg_catalog", encoder=_useless, decoder=_useless, format="text")
    async with connection.transaction():
        done = await store.append_async(connection, ORDER, Placed(1, HARD), metadata={"x": HARD})
        await store.append_async(connection, ORDER, Placed(2, HARD), Placed(3, HARD), expected=1)
        with pytest.raises(ConcurrencyError):
            await store.append_async(connection, ORDER, Placed(9), expected=7)
        read = [one async for one in store.read_all_async(connection)]
        decision = await courses.query_async(connection, seats_of("c1"))
        await courses.append_async(connection, school.stream("x", 1), Subscribed("c1", "s1"), unless_changed=decision)
        await people.store.append_async(connection, people.ADA, people.REGISTERED)
        assert await Privacy(people.store).forget_async(connection, people.ADA)
        assert await connection.fetchval("select 'x'::text") == "coded x"  # the service's are still there
    await connection.close()

    assert [one.event for one in read] == [Placed(n, HARD) for n in (1, 2, 3)]
    assert (done.position, done.version) == (read[0].position, 1)


async def test_codecs_of_an_engine_over_asyncpg_have_no_part_in_ours(database_url: str) -> None:
    """SQLAlchemy sets some itself, and a service may set others for each connection."""
    engine = create_async_engine(asyncpg_url(database_url))

    @sa.event.listens_for(engine.sync_engine, "connect")
    def connected(adapted: Any, _: object) -> None:
        for name in set(CODED) - {"text", "varchar"}:
            options = {"schema": "pg_catalog", "encoder": _useless, "decoder": str, "format": "text"}
            adapted.run_async(lambda one, name=name, options=options: one.set_type_codec(name, **options))

    async with AsyncSession(engine) as session:
        await store.append_async(session, ORDER, Placed(1, HARD))
        await store.append_async(session, ORDER, Placed(2, HARD), Placed(3, HARD), expected=1)
        read = [one async for one in store.read_all_async(session)]
    await engine.dispose()

    assert [(one.event, one.version) for one in read] == [(Placed(n, HARD), n) for n in (1, 2, 3)]


async def test_a_write_outside_of_a_transaction_is_refused_and_a_read_is_not(
    connection: asyncpg.Connection, database_url: str
) -> None:
    """There each statement commits itself."""
    with pytest.raises(UnsupportedConnection, match="asyncpg: `async with"):
        await store.append_async(connection, ORDER, Placed(1))
    assert [one async for one in store.read_all_async(connection)] == []
    engine = create_async_engine(asyncpg_url(database_url), isolation_level="AUTOCOMMIT")
    async with AsyncSession(engine) as session:
        with pytest.raises(UnsupportedConnection, match="autocommit"):
            await store.append_async(session, ORDER, Placed(1))
        assert [one async for one in store.read_all_async(session)] == []
    await engine.dispose()

    assert written(database_url) == {}


async def test_a_pool_is_refused_and_the_error_names_an_alternative(database_url: str) -> None:
    """Each statement of a pool runs somewhere else."""
    async with asyncpg.create_pool(**asyncpg_options(database_url), min_size=1) as pool:
        with pytest.raises(UnsupportedConnection, match=r"asyncpg\.Pool .*it makes connections"):
            await store.append_async(pool, ORDER, Placed(1))
        async with pool.acquire() as lent:
            pass
        with pytest.raises(asyncpg.InterfaceError, match="released back to the pool"):
            await store.append_async(lent, ORDER, Placed(1))


async def test_a_synchronous_function_names_its_asynchronous_twin(connection: asyncpg.Connection) -> None:
    """As for the other asynchronous connections."""
    with pytest.raises(UnsupportedConnection, match=r"is asynchronous: call `await append_async\(…\)` with it"):
        store.append(connection, ORDER, Placed(1))
    with pytest.raises(UnsupportedConnection, match=r"is synchronous: call `append\(…\)` with it"):
        await store.append_async(psycopg.Connection.__new__(psycopg.Connection), ORDER, Placed(1))  # type: ignore[arg-type]


async def test_two_appends_at_once_on_one_connection_are_the_drivers_refusal(
    connection: asyncpg.Connection, database_url: str
) -> None:
    """It is not reported as a lost connection."""
    with psycopg.connect(database_url) as other:
        store.append(other, ORDER, Placed(1))
        async with connection.transaction():
            first = asyncio.ensure_future(store.append_async(connection, ORDER, Placed(2)))
            await asyncio.sleep(0)
            with pytest.raises(asyncpg.InterfaceError, match="another operation is in progress"):
                await store.append_async(connection, OTHER, Placed(3))
            other.commit()
            await first

    assert written(database_url) == {ORDER: [1, 2]}


@pytest.mark.parametrize("size", [0, 1, 100])
async def test_any_size_of_the_statement_cache_will_do(database_url: str, size: int) -> None:
    """None at all, as behind a pooler; one, so that each statement pushes the other out."""
    connection = await asyncpg.connect(**asyncpg_options(database_url), statement_cache_size=size)
    for n in range(3):
        async with connection.transaction():
            await store.append_async(connection, ORDER, Placed(n), expected=n)
            await store.append_async(connection, OTHER, Placed(n), Placed(n))
    prepared = await connection.fetchval(
        "select count(*) from pg_prepared_statements where statement like '%outbox%' and from_sql is false"
    )
    await connection.close()

    assert prepared <= min(size, 4)
    assert written(database_url) == {ORDER: [0, 1, 2], OTHER: [0, 0, 1, 1, 2, 2]}


MIGRATIONS = (
    "alter table eventkit.events add column more text",
    "alter table eventkit.streams alter column version type bigint",
    "drop index eventkit.events_type_idx",
    "alter table eventkit.outbox set (fillfactor = 50)",
)


@pytest.mark.parametrize("driver", ["asyncpg", "asyncpg_session", "psycopg_async"])
async def test_statements_that_were_prepared_before_a_migration_still_run(database_url: str, driver: str) -> None:
    """A column that is added or widened, an index that goes: no result of our statements changes its type."""
    with psycopg.connect(database_url, autocommit=True) as admin:
        engine = create_async_engine(asyncpg_url(database_url), pool_size=1, max_overflow=0)
        raw = await asyncpg.connect(**asyncpg_options(database_url))
        other = await psycopg.AsyncConnection.connect(database_url)

        async def both(n: int) -> None:
            if driver == "asyncpg":
                async with raw.transaction():
                    await _append_and_read(raw, n)
            elif driver == "psycopg_async":
                await _append_and_read(other, n)
                await other.commit()
            else:
                async with AsyncSession(engine) as session, session.begin():
                    await _append_and_read(session, n)

        for n in range(7):
            await both(n)
        for n, migration in enumerate(MIGRATIONS, 7):
            with suppress(psycopg.errors.UndefinedObject):
                admin.execute(migration)
            await both(n)
        await raw.close()
        await other.close()
        await engine.dispose()

    assert len(written(database_url)[ORDER]) == 3 * (7 + len(MIGRATIONS))


async def _append_and_read(connection: Any, n: int) -> None:
    await store.append_async(connection, ORDER, Placed(n), expected=3 * n)
    await store.append_async(connection, ORDER, Placed(n), Placed(n))
    assert len([one async for one in store.read_stream_async(connection, ORDER)]) == 3 * (n + 1)


CANCELLED = ("asyncpg", "psycopg_async", "asyncpg_session", "async_session")


@pytest.mark.parametrize("name", CANCELLED)
async def test_an_append_that_is_cancelled_while_it_waits_leaves_nothing(database_url: str, name: str) -> None:
    """The caller's block rolls back; the connection can be used for the next one."""
    with psycopg.connect(database_url) as other:
        store.append(other, ORDER, Placed(1))
        with pytest.raises(TimeoutError):  # noqa: PT012 the whole block is cancelled
            async with asyncio.timeout(0.2), BY_NAME[name].transaction(database_url) as connection:
                await store.append_async(connection, OTHER, Placed(2))
                await store.append_async(connection, ORDER, Placed(2))
    async with BY_NAME[name].transaction(database_url) as connection:
        await store.append_async(connection, OTHER, Placed(3))

    assert written(database_url) == {ORDER: [1], OTHER: [3]}


@pytest.mark.parametrize("name", ["asyncpg", "psycopg_async"])
async def test_several_appends_that_are_cancelled_go_back_to_their_savepoint(database_url: str, name: str) -> None:
    """A caller that catches the time limit inside of its transaction may continue, with none of the call."""
    with psycopg.connect(database_url) as other:
        store.append(other, ORDER, Placed(1))
        other.commit()
        store.append(other, ORDER, Placed(2))
        async with BY_NAME[name].transaction(database_url) as connection:
            call = [Append(OTHER, [Placed(3)], expected=0), Append(ORDER, [Placed(3)], expected=1)]
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await store.append_many_async(connection, call)
            await store.append_async(connection, order(3), Placed(4))

    assert written(database_url) == {ORDER: [1, 2], order(3): [4]}


@pytest.mark.parametrize("name", ["asyncpg", "psycopg_async"])
async def test_a_call_that_is_cancelled_at_any_moment_is_all_or_nothing(database_url: str, name: str) -> None:
    """For any later commit of the caller: a call whose expectations do not hold leaves no part of itself."""
    chance = random.Random(7)
    with psycopg.connect(database_url) as other:
        store.append(other, ORDER, Placed(0))
    for n in range(40):
        async with BY_NAME[name].transaction(database_url) as connection:
            wrong = n % 2
            call = [
                Append(order(f"a{n}"), [Placed(n)], expected=0),
                Append(order(f"b{n}"), [Placed(n)], expected=wrong),
            ]
            task = asyncio.ensure_future(store.append_many_async(connection, call))
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError, ConcurrencyError):
                await task
            with suppress(psycopg.Error, asyncpg.PostgresError):  # the statement was cancelled, the transaction failed
                await store.append_async(connection, ORDER, Placed(n), expected=ANY)

    found = written(database_url)
    for n in range(40):
        assert (str(order(f"a{n}")) in found) == (str(order(f"b{n}")) in found)
        assert n % 2 == 0 or str(order(f"a{n}")) not in found
    with psycopg.connect(database_url) as other:
        check_tables(other)


def test_placeholders_are_numbered_once_for_each_name() -> None:
    """Each value is text; a percent sign that was doubled for psycopg is single."""
    statement = "select %(a)s::text, %(b)s::uuid[], %(a)s::int, %(c)s from x%%y where z = %(t)s::text[]"

    assert numbered(statement) == (
        "select $1::text, $2::text::uuid[], $1::text::int, $3::text from x%y where z = $4::text::text[]",
        ("a", "b", "c", "t"),
    )
    assert numbered(statement) is numbered(statement)


@pytest.mark.parametrize("statement", ["select %s", "select 5 % 3"])
def test_a_placeholder_without_a_name_is_an_internal_error(statement: str) -> None:
    """It would be confused with the others."""
    with pytest.raises(ValueError, match="has no name"):
        numbered(statement)
