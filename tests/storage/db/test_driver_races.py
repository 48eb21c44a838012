"""Many asynchronous writers over asyncpg, beside others over psycopg: versions, guards and decisions hold."""

import asyncio
import random
from collections import Counter
from typing import Any

import psycopg
import pytest

from eventkit.aggregates.retry import is_conflict, retry_on_conflict_async
from eventkit.errors import ConcurrencyError
from tests.storage.db.service_drivers import BY_NAME
from tests.storage.shop import ORDER, OTHER, Placed, check_tables, order, store, written
from tests.storage.tags.courses import COURSES, SEATS, Subscribed, courses_of, school, seats_of, taken
from tests.storage.tags.courses import store as courses

NAMES = ("asyncpg", "asyncpg_session", "asyncpg_connection", "psycopg_async")
VERSIONS, WRITERS, DECISIONS = 8, 8, 12


async def test_of_many_writers_that_expect_a_version_one_wins(database_url: str) -> None:
    """Each version is written once, and every loser's error has the version that is there."""
    won: list[int] = []
    told: list[int | None] = []
    barrier = asyncio.Barrier(WRITERS)

    async def race(me: int) -> None:
        for version in range(VERSIONS):
            await barrier.wait()
            async with BY_NAME[NAMES[me % len(NAMES)]].transaction(database_url) as connection:
                try:
                    await store.append_async(connection, ORDER, Placed(me), expected=version)
                    won.append(version)
                except ConcurrencyError as error:
                    told.append(error.actual)
            await barrier.wait()

    await asyncio.gather(*(race(me) for me in range(WRITERS)))

    assert sorted(won) == list(range(VERSIONS))
    assert len(told) == VERSIONS * (WRITERS - 1)
    assert None not in told
    assert len(written(database_url)[ORDER]) == VERSIONS


@pytest.mark.both_postgres
async def test_no_course_is_overbooked_and_no_student_overloaded(database_url: str) -> None:
    """Decisions by tags, with rollbacks, savepoints and stricter isolation, over every asynchronous driver at once."""
    counts: Counter[str] = Counter()

    async def write(me: int) -> None:
        chance = random.Random(me)
        name = NAMES[me % len(NAMES)]
        for n in range(DECISIONS):
            try:
                async with BY_NAME[name].transaction(database_url) as connection:
                    if n % 4 == 3:
                        await BY_NAME[name].execute(connection, "set transaction isolation level repeatable read")
                    place, pair = f"{me}-{n}", (f"c{chance.randrange(3)}", f"s{chance.randrange(12)}")
                    counts[await _subscribe(connection, *pair, place=place)] += 1
                    _ = 1 / (n % 5 - 4)  # rolls every fifth back
            except ZeroDivisionError:
                counts["undone"] += 1
            except Exception as error:
                if not is_conflict(error):
                    raise
                counts["refused"] += 1

    await asyncio.gather(*(write(me) for me in range(WRITERS * 2)))

    assert counts["subscribed"] > 20
    with psycopg.connect(database_url) as connection:
        check_tables(connection)
        for n in range(3):
            assert len(courses.query(connection, seats_of(f"c{n}")).events) <= SEATS
        for n in range(12):
            assert len(courses.query(connection, courses_of(f"s{n}")).events) <= COURSES


async def _subscribe(connection: Any, course: str, student: str, *, place: str) -> str:
    decision = await courses.query_async(connection, seats_of(course), courses_of(student))
    standing = taken(decision)
    full = sum(c == course for c, _ in standing) >= SEATS or sum(s == student for _, s in standing) >= COURSES
    if full or (course, student) in standing:
        return "full"
    event = Subscribed(course, student)
    await courses.append_async(connection, school.stream("subscription", place), event, unless_changed=decision)
    return "subscribed"


async def test_guards_leave_no_write_skew(database_url: str) -> None:
    """Of two transactions, each of which guards the other's stream, one commits."""
    outcomes: list[str] = []
    barrier = asyncio.Barrier(2)

    async def write(mine: Any, others: Any, name: str) -> None:
        await barrier.wait()
        async with BY_NAME[name].transaction(database_url) as connection:
            try:
                await store.append_async(connection, mine, Placed(1), guards={others: 0})
                outcomes.append("written")
            except ConcurrencyError:
                outcomes.append("refused")

    await asyncio.gather(write(ORDER, OTHER, "asyncpg"), write(OTHER, ORDER, "asyncpg_session"))

    assert sorted(outcomes) == ["refused", "written"]
    with psycopg.connect(database_url) as connection:
        assert len(list(store.read_all(connection))) == 1


@pytest.mark.parametrize("name", NAMES)
async def test_a_unit_of_work_is_retried_after_a_conflict_of_any_driver(database_url: str, name: str) -> None:
    """40001 also where the driver raises it at a statement of the service's own, or at the commit."""
    attempts: list[int] = []

    async def work(connection: Any) -> None:
        attempts.append(1)
        await BY_NAME[name].execute(connection, "set transaction isolation level serializable")
        await BY_NAME[name].execute(connection, "select count(*) from eventkit.streams")
        if len(attempts) == 1:
            async with BY_NAME["asyncpg"].transaction(database_url) as other:
                await store.append_async(other, order(1), Placed(1))
        await BY_NAME[name].execute(connection, "update eventkit.streams set version = version")

    async with BY_NAME["asyncpg"].transaction(database_url) as connection:
        await store.append_async(connection, order(1), Placed(1))
    await retry_on_conflict_async(lambda: BY_NAME[name].transaction(database_url), work)

    assert len(attempts) == 2
