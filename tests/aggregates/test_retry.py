"""A unit of work runs again when somebody was first, and not otherwise."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from eventkit import ConcurrencyError
from eventkit.aggregates.repository import Repository
from eventkit.aggregates.retry import is_conflict, retry_on_conflict, retry_on_conflict_async
from eventkit.aggregates.snapshots import Snapshots
from tests.aggregates.shop import Order, orders, store


def add(item: str, rivals: int, sessions: sessionmaker[Session], session: Session) -> int:
    """Add something to order 1 after `rivals` have done so in between; return how often it ran."""
    with orders.change(session, 1) as order:
        if len(order.items) < rivals:
            with sessions.begin() as other, orders.change(other, 1) as theirs:
                theirs.add(f"rival {len(order.items)}")
        order.add(item)
    return len(order.items)


def test_the_whole_unit_of_work_runs_again_with_fresh_state(sessions: sessionmaker[Session]) -> None:
    """A writer that loses twice decides a third time, on the events that the others have written."""
    seen = retry_on_conflict(sessions.begin, lambda session: add("tea", 2, sessions, session))

    with sessions() as session:
        assert list(orders.load(session, 1).items) == ["rival 0", "rival 1", "tea"]
    assert seen == 3


async def test_asynchronous_work_runs_again_too(async_engine: AsyncEngine, sessions: sessionmaker[Session]) -> None:
    """The same for `async` sessions and functions."""

    async def work(session: AsyncSession) -> int:
        async with orders.change_async(session, 1) as order:
            if not order.items:
                with sessions.begin() as other, orders.change(other, 1) as theirs:
                    theirs.add("rival")
            order.add("tea")
        return len(order.items)

    assert await retry_on_conflict_async(async_sessionmaker(async_engine).begin, work) == 2


def test_the_last_conflict_is_raised(sessions: sessionmaker[Session]) -> None:
    """Attempts are bounded."""
    with pytest.raises(ConcurrencyError):
        retry_on_conflict(sessions.begin, lambda session: add("tea", 99, sessions, session), attempts=3)

    with sessions() as session:
        assert len(orders.load(session, 1).items) == 3


def test_another_error_is_not_retried(sessions: sessionmaker[Session]) -> None:
    """A refusal is an answer, not a conflict."""
    attempts = []

    def work(_: Session) -> None:
        attempts.append(1)
        raise KeyError

    with pytest.raises(KeyError):
        retry_on_conflict(sessions.begin, work)

    assert attempts == [1]


def test_no_attempt_at_all_is_refused() -> None:
    """A number below one is a mistake."""
    with pytest.raises(ValueError, match="attempts=0"):
        retry_on_conflict(pytest.fail, pytest.fail, attempts=0)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_serialization_failure_is_retried(engine: Engine, sessions: sessionmaker[Session], isolation: str) -> None:
    """Under stricter isolation PostgreSQL aborts the loser (40001): a new transaction is the answer, again."""
    strict = sessionmaker(engine.execution_options(isolation_level=isolation))

    retry_on_conflict(strict.begin, lambda session: add("tea", 1, sessions, session))

    with sessions() as session:
        assert list(orders.load(session, 1).items) == ["rival 0", "tea"]


def test_a_failure_at_the_commit_is_retried(engine: Engine) -> None:
    """Two SERIALIZABLE transactions, each of which reads the other's writes: one of them fails at its commit."""
    strict = sessionmaker(engine.execution_options(isolation_level="SERIALIZABLE"))
    ran: list[int] = []

    def cross(read: int, write: int, session: Session) -> None:
        """Read one order and write another, while the reverse is done in between."""
        ran.append(write)
        orders.load(session, read)
        if len(ran) == 1:
            with strict.begin() as other:
                cross(write, read, other)
        with orders.change(session, write) as order:
            order.add("tea")

    retry_on_conflict(strict.begin, lambda session: cross(1, 2, session))

    assert ran == [2, 1, 2]


def test_a_deadlock_is_retried(engine: Engine, sessions: sessionmaker[Session]) -> None:
    """PostgreSQL ends one of two transactions that wait for each other (40P01); it runs again and both are done."""
    with engine.begin() as connection:
        connection.execute(text("create table two (n int primary key, v int)"))
        connection.execute(text("insert into two values (1, 0), (2, 0)"))

    met = Barrier(2, timeout=60)

    def both(order: tuple[int, int], ran: list[int], session: Session) -> None:
        for n in order:
            session.execute(text("update two set v = v + 1 where n = :n"), {"n": n})
            if not ran:
                ran.append(n)
                met.wait()

    def worker(order: tuple[int, int]) -> None:
        ran: list[int] = []
        retry_on_conflict(sessions.begin, lambda session: both(order, ran, session))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(worker, [(1, 2), (2, 1)], timeout=60))

    with engine.begin() as connection:
        assert connection.execute(text("select array_agg(v) from two")).scalar() == [2, 2]


def test_a_lost_connection_is_no_conflict() -> None:
    """Nobody knows whether the commit took place: running it again could do it twice."""
    assert not is_conflict(DBAPIError("", None, OSError("gone")))


@given(
    plan=st.lists(st.sampled_from(["ann", "bob"]), min_size=1, max_size=12),
    strict=st.booleans(),
    repository=st.sampled_from([orders, Repository(store, Order, category="order", snapshots=Snapshots(every=2))]),
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_no_decision_is_lost_or_taken_twice(
    engine: Engine,
    repository: Repository[Order],
    plan: list[str],
    strict: bool,  # noqa: FBT001 of the strategy
) -> None:
    """Writers on one aggregate, at once: every decision is there once, and each was taken on the state before it."""
    options = {"isolation_level": "REPEATABLE READ"} if strict else {}
    sessions = sessionmaker(engine.execution_options(**options))
    key = uuid4()

    def decide(one: tuple[int, str], session: Session) -> None:
        with repository.change(session, key) as order:
            order.add(f"{one[1]} {one[0]} saw {len(order.items)}")

    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda one: retry_on_conflict(sessions.begin, lambda s: decide(one, s), attempts=50), enumerate(plan)
            )
        )

    with sessions() as session:
        order = repository.load(session, key)
    assert sorted(item.partition(" saw ")[0] for item in order.items) == sorted(f"{w} {n}" for n, w in enumerate(plan))
    assert [int(item.partition(" saw ")[2]) for item in order.items] == list(range(len(plan)))
