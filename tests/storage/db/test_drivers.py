"""The promises of append, reads, decisions, privacy, snapshots and deadlines hold over every driver of a service."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from eventkit import Aggregate, Deadlines, Privacy, Repository, Snapshots, evolve
from eventkit.domain.metadata import Metadata
from eventkit.errors import (
    AppendDeadlock,
    ConcurrencyError,
    DatabaseUnavailable,
    DecisionChanged,
    DuplicateEventId,
    NotApplied,
    SchemaMismatch,
    StreamPruned,
    UnsupportedConnection,
)
from eventkit.projection.define.table import TableProjection
from eventkit.projection.inline import Inline
from eventkit.projection.wait_for import wait_for
from eventkit.storage.events.event_store import ANY, NO_STREAM, Append, EventStore, QueryItem
from tests.storage import people
from tests.storage.db.service_drivers import DRIVERS, ServiceDriver, asyncpg_url
from tests.storage.shop import ORDER, OTHER, Placed, order, shop, sqlalchemy_url, store, written
from tests.storage.tags.courses import Subscribed, school, seats_of
from tests.storage.tags.courses import store as courses
from tests.waiting import wait_until

HARD = "\"'\\ {},null %s %% $1 :name \n\t ☃ 𝄞"
PLACE = school.stream("subscription", "1")


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.name)
def driver(request: pytest.FixtureRequest) -> ServiceDriver:
    """Each of them."""
    found: ServiceDriver = request.param
    return found


@dataclass
class Tally(Aggregate):
    """Adds the numbers of an order."""

    total: int = 0

    @evolve
    def _placed(self, event: Placed) -> None:
        self.total += event.n


class Undone(Exception):
    """Rolls a transaction back."""


def test_events_are_committed_with_the_services_rows_or_not_at_all(driver: ServiceDriver, database_url: str) -> None:
    """The caller's transaction is the append's."""
    with psycopg.connect(database_url) as connection:
        connection.execute("create table orders (id int)")

    async def undone() -> None:
        async with driver.transaction(database_url) as connection:
            await driver.execute(connection, "insert into orders values (1)")
            await driver.call(store.append, connection, ORDER, Placed(1))
            raise Undone

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            await driver.execute(connection, "insert into orders values (2)")
            first = await driver.call(store.append, connection, ORDER, Placed(2), expected=NO_STREAM)
            more = await driver.call(store.append, connection, ORDER, Placed(3), Placed(4), expected=1)
            assert (first.version, more.version, more.position) == (1, 3, first.position + 2)

    with pytest.raises(Undone):
        driver.run(undone())
    driver.run(work())

    assert written(database_url) == {ORDER: [2, 3, 4]}
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select id from orders").fetchall() == [(2,)]


def test_a_conflict_has_its_values_and_leaves_the_transaction_usable(driver: ServiceDriver, database_url: str) -> None:
    """With one expectation, with several in one call, and with guards."""

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            await driver.call(store.append, connection, ORDER, Placed(1), Placed(2))
            for expected, events in ((NO_STREAM, 1), (1, 1), (3, 2)):
                with pytest.raises(ConcurrencyError) as caught:
                    await driver.call(store.append, connection, ORDER, *[Placed(9)] * events, expected=expected)
                assert (caught.value.stream, caught.value.actual, caught.value.transaction_usable) == (ORDER, 2, True)
            call = [Append(OTHER, [Placed(9)], expected=NO_STREAM), Append(ORDER, [Placed(9)], expected=7)]
            with pytest.raises(ConcurrencyError):
                await driver.call(store.append_many, connection, call)
            with pytest.raises(ConcurrencyError):
                await driver.call(store.append, connection, OTHER, Placed(9), guards={ORDER: 1})
            await driver.call(store.append, connection, OTHER, Placed(3), guards={ORDER: 2})
            call = [Append(OTHER, [Placed(4)], expected=1), Append(order(3), [Placed(5), Placed(6)])]
            done = await driver.call(store.append_many, connection, call)
            assert [one.version for one in done] == [2, 2]

    driver.run(work())

    assert written(database_url) == {ORDER: [1, 2], OTHER: [3, 4], order(3): [5, 6]}


def test_any_text_is_read_back_equal(driver: ServiceDriver, database_url: str) -> None:
    """One event and several, with metadata, in all directions and choices."""
    metadata = Metadata(correlation_id="c", causation_id="a", extra={"x": HARD})
    stream, events = order(HARD.replace("\n\t", "")), [Placed(n, HARD) for n in range(4)]

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            await driver.call(store.append, connection, stream, events[0], metadata=metadata)
            await driver.call(store.append, connection, stream, *events[1:], metadata=metadata)
            soon, long_ago = datetime.now(UTC) + timedelta(hours=1), datetime(2000, 1, 1, tzinfo=UTC)
            read: list[tuple[Any, Any, dict[str, Any], int]] = [
                (store.read_stream, stream, {"batch": 2}, 4),
                (store.read_stream, stream, {"until": 2}, 2),
                (store.read_stream, stream, {"until": soon, "after": 1}, 3),
                (store.read_stream, stream, {"backwards": True, "limit": 3}, 3),
                (store.read_all, None, {"batch": 3}, 4),
                (store.read_all, None, {"types": [Placed], "categories": ["order"], "since": long_ago}, 4),
                (store.read_all, None, {"until": long_ago}, 0),
                (store.read_all, None, {"backwards": True, "until": soon}, 4),
                (store.read_category, "order", {"limit": 2}, 2),
            ]
            for method, what, options, count in read:
                found = await driver.call(method, connection, *([what] if what else []), **options)
                assert len(found) == count, (method, options)
                assert all(one.event == events[one.version - 1] and one.metadata == metadata for one in found)
                assert all(type(one.position) is int for one in found)

    driver.run(work())


def test_a_story_is_read_from_its_first_cause_to_its_last_effect(driver: ServiceDriver, database_url: str) -> None:
    """By its correlation id, up to the causes, and down to the effects."""

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            await driver.call(store.append, connection, ORDER, Placed(1))
            [first] = await driver.call(store.read_all, connection)
            await driver.call(store.following(first).append, connection, OTHER, Placed(2))
            [second] = await driver.call(store.read_stream, connection, OTHER)
            causes = await driver.call(store.read_causes, connection, second.id)
            assert [one.event.n for one in causes] == [1, 2]
            tree = await driver.call(store.causation_tree, connection, first.id)
            assert [(one.depth, one.envelope.event.n) for one in tree] == [(0, 1), (1, 2)]
            for backwards in (False, True):
                story = {"correlation_id": str(first.id), "backwards": backwards}
                assert len(await driver.call(store.read_all, connection, **story)) == 2

    driver.run(work())


def test_ids_make_a_retry_safe(driver: ServiceDriver, database_url: str) -> None:
    """The same place is a success, another one a DuplicateEventId, and the transaction continues."""
    ids = [uuid4(), uuid4()]

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            events = [Placed(1), Placed(2)]
            first = await driver.call(store.append, connection, ORDER, *events, ids=ids, expected=NO_STREAM)
            again = await driver.call(store.append, connection, ORDER, *events, ids=ids, expected=NO_STREAM)
            assert again == first
            with pytest.raises(DuplicateEventId):
                await driver.call(store.append, connection, OTHER, *events, ids=ids)

    driver.run(work())

    assert written(database_url) == {ORDER: [1, 2]}


def test_decisions_are_taken_by_tags(driver: ServiceDriver, database_url: str) -> None:
    """Query, append, and a conflict that names the new events."""

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            decision = await driver.call(courses.query, connection, seats_of("c1"))
            await driver.call(courses.append, connection, PLACE, Subscribed("c1", "s1"), unless_changed=decision)
            with pytest.raises(DecisionChanged) as caught:
                await driver.call(courses.append, connection, PLACE, Subscribed("c1", "s2"), unless_changed=decision)
            assert caught.value.stream == PLACE
            call = {"tags": [HARD.replace("\n\t", "")], "unless_changed": None}
            await driver.call(courses.append, connection, PLACE, Subscribed("c2", "s2"), **call)
            asked = QueryItem(call["tags"]), seats_of("c1")  # type: ignore[arg-type]
            decision = await driver.call(courses.query, connection, *asked)
            assert [one.event.course for one in decision] == ["c1", "c2"]

    driver.run(work())


def test_personal_data_is_sealed_opened_and_forgotten(driver: ServiceDriver, database_url: str) -> None:
    """Keys are made, read and destroyed in the caller's transaction."""
    fresh = EventStore(people.crm, master_keys=people.MASTERS)

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            await driver.call(fresh.append, connection, people.ADA, people.REGISTERED)
            read = await driver.call(fresh.read_stream, connection, people.ADA)
            assert [one.event for one in read] == [people.REGISTERED]
            assert await driver.call(Privacy(fresh).forget, connection, people.ADA, reason="asked")
            read = await driver.call(fresh.read_stream, connection, people.ADA)
            assert [one.event for one in read] == [people.REDACTED]
            assert await driver.call(Privacy(fresh).readmit, connection, people.ADA)

    driver.run(work())


def test_aggregates_are_loaded_and_saved_with_snapshots(driver: ServiceDriver, database_url: str) -> None:
    """The snapshot is written in the caller's transaction."""
    repository = Repository(store, Tally, category="order", snapshots=Snapshots(every=2))

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            tally = repository.new(1)
            for n in range(3):
                tally.record(Placed(n))
                await driver.call(repository.save, connection, tally)
            loaded = await driver.call(repository.load, connection, 1)
            assert (loaded.total, loaded.version) == (3, 3)
            assert (await driver.call(repository.load, connection, 1, at=2)).total == 1

    driver.run(work())

    with psycopg.connect(database_url) as connection:
        assert connection.execute("select version from eventkit.snapshots").fetchall() == [(2,)]


def test_deadlines_are_set_and_cancelled(driver: ServiceDriver, database_url: str) -> None:
    """By a time and by how long after now."""
    deadlines = Deadlines(store)
    at = datetime(2030, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            assert await driver.call(deadlines.set, connection, ORDER, Placed(1), at) == at
            later = await driver.call(deadlines.set, connection, OTHER, Placed(1), timedelta(days=2))
            assert later > datetime.now(UTC) + timedelta(days=1)
            assert await driver.call(deadlines.cancel, connection, ORDER, Placed)
            assert not await driver.call(deadlines.cancel, connection, ORDER, Placed)

    driver.run(work())


def test_a_caller_waits_for_its_own_write(driver: ServiceDriver, database_url: str) -> None:
    """`wait_for` returns once the projection has applied it, and names the missing events in time."""
    with psycopg.connect(database_url) as connection:
        connection.execute("create table placed (note text primary key, orders int not null default 0)")
        applied = EventStore(shop, inline=Inline(TOTALS)).append(connection, ORDER, Placed(1, "x"))
        missing = store.append(connection, ORDER, Placed(2, "x"))

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            await driver.call(wait_for, connection, TOTALS, applied)
            with pytest.raises(NotApplied, match="up to version 1"):
                await driver.call(wait_for, connection, TOTALS, missing, timeout=0.01)

    driver.run(work())


def test_a_callers_savepoint_takes_its_events_back(driver: ServiceDriver, database_url: str) -> None:
    """Those around it stay."""

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            await driver.call(store.append, connection, ORDER, Placed(1))
            await driver.execute(connection, "savepoint mine")
            await driver.call(store.append, connection, ORDER, Placed(2))
            await driver.call(store.append_many, connection, [Append(OTHER, [Placed(2)], expected=0)])
            await driver.execute(connection, "rollback to savepoint mine")
            await driver.call(store.append, connection, ORDER, Placed(3), expected=1)

    driver.run(work())

    assert written(database_url) == {ORDER: [1, 3]}


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_lost_race_under_stricter_isolation_says_that_the_transaction_is_over(
    driver: ServiceDriver, database_url: str, level: str
) -> None:
    """40001 of every driver is a ConcurrencyError."""
    with psycopg.connect(database_url) as other:
        store.append(other, ORDER, Placed(1))

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            await driver.execute(connection, f"set transaction isolation level {level}")
            await driver.execute(connection, "select 1 from eventkit.streams")
            with psycopg.connect(database_url) as other:
                store.append(other, ORDER, Placed(2))
            await driver.call(store.append, connection, ORDER, Placed(3), expected=ANY)

    with pytest.raises(ConcurrencyError) as caught:
        driver.run(work())
    assert not caught.value.transaction_usable

    assert written(database_url) == {ORDER: [1, 2]}


def test_a_lock_timeout_of_the_services_own_stays_the_drivers_error(driver: ServiceDriver, database_url: str) -> None:
    """The service knows its driver's classes, and has set the limit itself."""

    async def work() -> None:
        with psycopg.connect(database_url) as other:
            store.append(other, ORDER, Placed(1))
            async with driver.transaction(database_url) as connection:
                await driver.execute(connection, "set local lock_timeout = '20ms'")
                await driver.call(store.append, connection, ORDER, Placed(2))

    with pytest.raises(Exception, match="lock timeout") as caught:
        driver.run(work())
    home = type(caught.value).__module__.partition(".")[0]
    expected = {"psycopg_async": "psycopg", "session": "sqlalchemy", "async_session": "sqlalchemy"}
    expected |= {"asyncpg_session": "sqlalchemy", "asyncpg_connection": "sqlalchemy", "asyncpg_pool": "asyncpg"}
    expected |= dict.fromkeys(("django", "psycopg_pool", "psycopg_async_pool"), "psycopg")
    assert home == expected.get(driver.name, driver.name)


def test_a_session_that_postgresql_has_ended_is_a_database_that_is_away(
    driver: ServiceDriver, database_url: str
) -> None:
    """Nothing was written; the same error from every driver."""

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            await driver.call(store.append, connection, ORDER, Placed(1))
            with psycopg.connect(database_url, autocommit=True) as other:
                other.execute(
                    "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid()"
                )
            await driver.call(store.append, connection, ORDER, Placed(2))

    with pytest.raises(DatabaseUnavailable):
        driver.run(_any_end(work()))

    assert written(database_url) == {}


async def _any_end(work: Any) -> None:
    try:
        await work
    except Exception as error:  # a driver may fail once more when it rolls back on the dead session
        if isinstance(error.__context__, DatabaseUnavailable):
            raise error.__context__ from None
        raise


def test_a_transaction_that_has_failed_already_takes_no_event(driver: ServiceDriver, database_url: str) -> None:
    """The service's own failed statement ends its transaction, in spite of any later statement."""

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            await driver.call(store.append, connection, ORDER, Placed(1))
            with pytest.raises(Exception, match="division by zero"):
                await driver.execute(connection, "select 1/0")
            await driver.call(store.append, connection, ORDER, Placed(2))

    with pytest.raises(Exception, match=r"division|current transaction is aborted|can't execute queries"):
        driver.run(work())

    assert written(database_url) == {}


def test_missing_tables_are_an_error_with_the_command(driver: ServiceDriver, empty_database_url: str) -> None:
    """42P01 of every driver says which command to run."""

    async def work() -> None:
        async with driver.transaction(empty_database_url) as connection:
            await driver.call(store.append, connection, ORDER, Placed(1))

    with pytest.raises(SchemaMismatch, match="eventkit db upgrade"):
        driver.run(work())


HOSTILE = (
    "DateStyle = 'SQL, DMY'",
    "TimeZone = 'Asia/Kathmandu'",
    "search_path = nowhere",
    "extra_float_digits = -15",
    "standard_conforming_strings = off",
    "backslash_quote = off",
    "IntervalStyle = sql_standard",
    "bytea_output = escape",
    "quote_all_identifiers = on",
    "xmlbinary = hex",
    "plan_cache_mode = force_generic_plan",
)


def test_settings_of_the_services_session_change_nothing(driver: ServiceDriver, database_url: str) -> None:
    """Formats, zones, paths and plans may be any."""
    moment = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            for setting in HOSTILE:
                await driver.execute(connection, f"set {setting}")
            await driver.call(store.append, connection, ORDER, Placed(1, HARD))
            await driver.call(store.append, connection, ORDER, Placed(2, HARD), Placed(3, HARD))
            decision = await driver.call(courses.query, connection, seats_of("c1"))
            await driver.call(courses.append, connection, PLACE, Subscribed("c1", "s1"), unless_changed=decision)
            read = await driver.call(store.read_stream, connection, ORDER)
            assert [one.event for one in read] == [Placed(n, HARD) for n in (1, 2, 3)]
            assert all(abs(one.recorded_at - datetime.now(UTC)) < timedelta(hours=1) for one in read)
            assert await driver.call(store.read_all, connection, until=moment.replace(year=2001)) == []
            due = await driver.call(Deadlines(store).set, connection, ORDER, Placed(1), moment)
            assert due == moment

    driver.run(work())


@pytest.mark.parametrize("option", [{"stream_results": True}, {"yield_per": 10}], ids=str)
def test_a_service_that_streams_its_own_results_appends_and_reads(database_url: str, option: dict[str, object]) -> None:
    """Its server-side cursors are for its own statements: PostgreSQL declares none for a statement that writes."""
    engine = sa.create_engine(sqlalchemy_url(database_url), execution_options=option)
    with engine.begin() as connection:
        store.append(connection, ORDER, Placed(1))
        numbers = [one.event.n for one in store.read_stream(connection, ORDER)]
    engine.dispose()

    assert numbers == [1]


@pytest.mark.parametrize("option", [{"stream_results": True}, {"yield_per": 10}], ids=str)
@pytest.mark.parametrize("url_of", [sqlalchemy_url, asyncpg_url])
async def test_an_asynchronous_service_that_streams_likewise(
    database_url: str, option: dict[str, object], url_of: Callable[[str], str]
) -> None:
    """Over both drivers."""
    engine = create_async_engine(url_of(database_url), execution_options=option)
    async with engine.begin() as connection:
        await store.append_async(connection, ORDER, Placed(1))
        numbers = [one.event.n async for one in store.read_stream_async(connection, ORDER)]
    await engine.dispose()

    assert numbers == [1]


def test_pruned_streams_are_refused_and_read_errors_are_ours(driver: ServiceDriver, database_url: str) -> None:
    """The errors of reading a stream do not depend on the driver."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, ORDER, Placed(1), Placed(2))
        connection.execute("update eventkit.streams set pruned_to = 1")

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            with pytest.raises(StreamPruned):
                await driver.call(store.read_stream, connection, ORDER)

    driver.run(work())


def test_inline_projections_run_where_they_can_and_are_refused_elsewhere(
    driver: ServiceDriver, database_url: str
) -> None:
    """A refusal is a sentence that names the alternative, and nothing is written."""
    with psycopg.connect(database_url) as connection:
        connection.execute("create table placed (note text primary key, orders int not null default 0)")
    inline = EventStore(shop, inline=Inline(TOTALS))
    refused = driver.name.startswith("asyncpg") or driver.name in ("psycopg_async", "psycopg_async_pool")

    async def work() -> None:
        async with driver.transaction(database_url) as connection:
            if refused:
                with pytest.raises(UnsupportedConnection, match="inline projections need SQLAlchemy's AsyncSession"):
                    await driver.call(inline.append, connection, ORDER, Placed(1, "x"))
            else:
                await driver.call(inline.append, connection, ORDER, Placed(1, "x"))

    driver.run(work())

    assert bool(written(database_url)) is not refused


def test_appends_of_two_transactions_that_deadlock_say_so(driver: ServiceDriver, database_url: str) -> None:
    """40P01 of every driver is an AppendDeadlock."""
    with psycopg.connect(database_url) as other:
        store.append_many(other, [Append(ORDER, [Placed(1)]), Append(OTHER, [Placed(1)])])

    async def work() -> None:
        with psycopg.connect(database_url) as other:
            other.execute("set deadlock_timeout = '1h'")
            store.append(other, OTHER, Placed(2))
            async with driver.transaction(database_url) as connection:
                await driver.execute(connection, "set local deadlock_timeout = '50ms'")
                await driver.call(store.append, connection, ORDER, Placed(3))
                other.pgconn.send_query(b"update eventkit.streams set version = version where stream = 'order-1'")
                other.pgconn.flush()
                _wait_for_lock(database_url, other.info.backend_pid)
                await driver.call(store.append, connection, OTHER, Placed(4))

    with pytest.raises(AppendDeadlock):
        driver.run(work())


def _wait_for_lock(url: str, pid: int) -> None:
    query = "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
    with psycopg.connect(url, autocommit=True) as watch:
        wait_until(lambda: watch.execute(query, (pid,)).fetchone() is not None, timeout=60, what="the other to wait")


METADATA = sa.MetaData()
PLACED = sa.Table(
    "placed",
    METADATA,
    sa.Column("note", sa.Text, primary_key=True),
    sa.Column("orders", sa.Integer, nullable=False, default=0),
)
TOTALS = TableProjection("placed", shop, table=PLACED, key="note", categories=["order"])


@TOTALS.on(Placed)
def placed(row: Any, event: Placed) -> None:  # noqa: ARG001 a handler takes it
    """Count."""
    row.orders += 1
