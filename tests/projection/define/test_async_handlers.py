"""`async def` handlers: on one event loop, each in a transaction of its own streams, cancelled whole or not at all."""

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from eventkit import DatabaseUnavailable, Handlers, Inline, SqlProjection, TryLater
from eventkit import event_loop as event_loop_module
from eventkit.domain.envelope import Envelope
from eventkit.domain.message import Message
from eventkit.errors import ProjectionError
from eventkit.event_loop import CallInterrupted
from eventkit.projection import async_calls
from eventkit.projection.failure.breaker import Breakers
from eventkit.projection.failure.set_aside import SetAside
from eventkit.projection.retry_policy import Backoff
from eventkit.projection.run.projector import Projector
from tests.projection.shop import (
    Given,
    Left,
    Noted,
    Ordered,
    apply,
    checkpoints,
    letters,
    message,
    orders,
    projector,
    rows,
    shop,
)
from tests.waiting import wait_until

UPSERT = text(
    "insert into totals values (:c, 1, :a) on conflict (customer)"
    " do update set orders = totals.orders + 1, amount = totals.amount + :a"
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "pause", lambda _, attempt: 0.001 * attempt)


async def add(connection: AsyncConnection, event: Ordered) -> None:
    """Add an order."""
    await connection.execute(UPSERT, {"c": event.customer, "a": event.amount})


def streams(count: int, events: int = 1) -> list[Message]:
    """Return events of so many streams and customers."""
    return [item for number in range(count) for item in orders(f"order-{number}", events, customer=f"c{number}")]


def test_two_handlers_of_different_streams_overlap(url: str) -> None:
    """The first one continues when the second one says so: neither could end alone."""
    work, met = SqlProjection("work", shop, concurrency=2), asyncio.Event()

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        await add(connection, event)
        if event.customer == "c0":
            await asyncio.wait_for(met.wait(), 60)
        else:
            met.set()

    apply(url, streams(2), projection=work)

    assert rows(url) == [("c0", 1, 1), ("c1", 1, 1)]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_run_at_once_than_concurrency_allows(url: str, concurrency: int) -> None:
    """And as many, where there are streams enough; each on a connection of its own."""
    work = SqlProjection("work", shop, concurrency=concurrency)
    running, most, sessions = Counter[str](), 0, set[int]()

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        nonlocal most
        running["now"] += 1
        most = max(most, running["now"])
        sessions.add((await connection.execute(text("select pg_backend_pid()"))).scalar_one())
        for _ in range(20):  # others may begin meanwhile
            await asyncio.sleep(0.001)
        await add(connection, event)
        running["now"] -= 1

    apply(url, streams(30), projection=work)

    assert (most, len(sessions)) == (concurrency, concurrency)
    assert len(rows(url)) == 30


def test_a_stream_is_in_one_transaction_at_a_time_and_in_order(url: str) -> None:
    """However its events are spread over the batch."""
    work, seen = SqlProjection("work", shop, concurrency=4), defaultdict[str, list[int]](list)
    busy = set[str]()

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered, envelope: Envelope[Ordered]) -> None:
        assert envelope.stream not in busy
        busy.add(envelope.stream)
        await asyncio.sleep(0)
        await add(connection, event)
        seen[envelope.stream].append(envelope.version)
        busy.remove(envelope.stream)

    batch = [item for version in range(1, 9) for name in "abcdef" for item in orders(f"order-{name}", 1, first=version)]
    apply(url, batch, projection=work)

    assert all(versions == list(range(1, 9)) for versions in seen.values())
    assert rows(url) == [("ann", 48, 48)]


def test_a_transaction_has_no_more_messages_than_batch_says(url: str) -> None:
    """Also where more were received, to keep all lanes at work; each stream's order is kept."""
    work, transactions = Handlers("work", shop, batch=2, concurrency=2), defaultdict[int, int](int)

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        number = (await connection.execute(text("select txid_current()"))).scalar_one()
        transactions[number] += 1
        await add(connection, event)

    apply(url, streams(3, events=5), projection=work)

    assert max(transactions.values()) <= 2
    assert rows(url, "select orders from totals") == [(5,)] * 3
    assert set(checkpoints(url).values()) == {(5, False)}


def test_plain_and_async_handlers_share_the_transaction(url: str) -> None:
    """Each sees the other's writes."""
    work = SqlProjection("work", shop)

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        await add(connection, event)

    @work.on(Left)
    def left(connection: Connection, event: Left) -> None:
        assert connection.execute(text("select orders from totals")).scalar() == 2
        connection.execute(text("delete from totals where customer = :c"), {"c": event.customer})

    apply(
        url, [*orders("order-1", 2), message("order-1", 3, Left("ann")), *orders("order-1", 1, first=4)],
        projection=work,
    )  # fmt: skip

    assert rows(url) == [("ann", 1, 1)]


def test_an_async_session_works_in_the_transaction(url: str) -> None:
    """SQLAlchemy's AsyncSession, bound to the connection."""
    work = SqlProjection("work", shop)

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        async with AsyncSession(connection) as session:
            await session.execute(UPSERT, {"c": event.customer, "a": event.amount})
            await session.commit()  # the session's own: the transaction is the projector's

    apply(url, [*orders("order-1", 2), message("order-2", 1, Noted())], projection=work)

    assert rows(url) == [("ann", 2, 2)]
    assert checkpoints(url) == {"order-1": (2, False), "order-2": (1, False)}


@contextmanager
def working(url: str, projection: SqlProjection) -> Iterator[tuple[Projector, SetAside]]:
    """Run a projector whose streams may be set aside."""
    waiting = SetAside(projection.handlers, Breakers(projection.name))
    with projector(url, projection, aside=waiting) as running:
        yield running, waiting


@pytest.mark.parametrize("how", ["waits", "statement", "ignores"])
def test_a_handler_that_hangs_is_cancelled_and_leaves_nothing(url: str, how: str) -> None:
    """Its writes are rolled back, its stream waits as in any outage, and the others continue."""
    work, ended = Handlers("work", shop, timeout=1, concurrency=2), list[str]()

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        await add(connection, event)
        try:
            await (connection.execute(text("select pg_sleep(600)")) if how == "statement" else asyncio.sleep(600))
        except asyncio.CancelledError:
            ended.append("cancelled")
            if how != "ignores":
                raise

    @work.on(Left)
    async def left(connection: AsyncConnection, event: Left) -> None:
        await add(connection, Ordered(event.customer, 1))

    source = Given([*streams(1), *(message(f"order-{n}", 1, Left(f"c{n}")) for n in range(1, 6))])
    with working(url, work) as (running, waiting):
        wait_until(lambda: running.step(source) == 0 and len(rows(url)) == 5, timeout=120)
        assert "order-0" in waiting

    assert [customer for customer, _, _ in rows(url)] == ["c1", "c2", "c3", "c4", "c5"]
    assert (set(ended), letters(url)) == ({"cancelled"}, [])


def test_a_handler_that_does_not_end_even_then_loses_its_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can do nothing more in it."""
    monkeypatch.setattr(async_calls, "CLEANUP", 0.2)
    work, errors, free = Handlers("work", shop, timeout=0.2, concurrency=1), list[Exception](), threading.Event()

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        while not free.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        try:
            await add(connection, event)
        except Exception as error:  # noqa: BLE001 the test looks at it
            errors.append(error)

    with working(url, work) as (running, _):
        running.apply(streams(1))
        with pytest.raises(DatabaseUnavailable):
            running.register()
        free.set()
        wait_until(lambda: errors, timeout=60)

    assert (rows(url), checkpoints(url)) == ([], {})


def test_a_handler_under_way_is_cancelled_when_the_process_is_to_stop(url: str) -> None:
    """After a moment; nothing of it is committed, and it comes again."""
    work, begun, ended = Handlers("work", shop), threading.Event(), list[str]()

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        await add(connection, event)
        begun.set()
        try:
            await asyncio.sleep(600)
        finally:
            ended.append(event.customer)

    source = Given(streams(1))
    with projector(url, work) as running:

        def stop() -> None:
            begun.wait(60)
            running.stop.set()

        threading.Thread(target=stop, daemon=True).start()
        with pytest.raises(CallInterrupted):
            running.step(source)

    assert (ended, source.acknowledged) == (["c0"], [])
    assert (rows(url), checkpoints(url)) == ([], {})


def test_a_handler_that_is_done_soon_is_not_cancelled_by_a_request_to_stop(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends, and is committed."""
    monkeypatch.setattr(event_loop_module, "_STOP_GRACE", 60.0)
    work, asked = Handlers("work", shop), list[Projector]()

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        asked[0].stop.set()
        await asyncio.sleep(0.01)
        await add(connection, event)

    with projector(url, work) as running:
        asked.append(running)
        running.apply(streams(1))

    assert rows(url) == [("c0", 1, 1)]


def test_a_blocked_loop_is_no_handlers_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that blocks the loop for longer than `timeout` does not make the others' time run out."""
    monkeypatch.setattr(async_calls, "_SLICE", 0.1)
    work, began = Handlers("work", shop, timeout=3, concurrency=2), asyncio.Event()

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        if event.customer == "c0":
            await began.wait()
            time.sleep(4)  # noqa: ASYNC251 the careless handler that this test is about
        else:
            began.set()
            await asyncio.sleep(0.3)
        await add(connection, event)

    with working(url, work) as (running, waiting):
        running.apply(streams(2))
        assert len(waiting) == 0

    assert rows(url) == [("c0", 1, 1), ("c1", 1, 1)]


def test_a_task_that_a_handler_leaves_running_cannot_use_the_connection(url: str) -> None:
    """Its statement would belong to another event."""
    work, errors, tasks = SqlProjection("work", shop, concurrency=1), list[BaseException | None](), set[object]()
    returned, tried = asyncio.Event(), asyncio.Event()

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        async def later() -> None:
            await returned.wait()
            try:
                await add(connection, event)
            except ProjectionError as error:
                errors.append(error)
            tried.set()

        tasks.add(asyncio.get_running_loop().create_task(later()))

    @work.on(Left)
    async def left(connection: AsyncConnection, event: Left) -> None:
        returned.set()
        await asyncio.wait_for(tried.wait(), 60)
        await add(connection, Ordered(f"left {event.customer}", 1))

    apply(url, [*orders("order-1", 1), message("order-1", 2, Left("ann"))], projection=work)

    assert "await the tasks that a handler starts" in str(errors[0])
    assert rows(url) == [("left ann", 1, 1)]


def test_a_handler_that_returns_while_its_task_runs_a_statement_fails(url: str) -> None:
    """That statement may come after the commit."""
    work, tasks = SqlProjection("work", shop), set[asyncio.Task[object]]()

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        await add(connection, event)
        tasks.add(asyncio.get_running_loop().create_task(connection.execute(text("select pg_sleep(0.2)"))))
        await asyncio.sleep(0.05)

    apply(url, streams(1), projection=work)

    assert (rows(url), letters(url)) == ([], [("order-0", 1, "failed")])
    assert checkpoints(url) == {"order-0": (0, True)}


def test_a_task_group_within_a_handler_shares_its_connection(url: str) -> None:
    """Its statements run one after another; an error of one fails the event, whole."""
    work = SqlProjection("work", shop)

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(add(connection, event))
            if event.customer == "c1":
                group.create_task(add(connection, None))  # type: ignore[arg-type]

    apply(url, streams(2), projection=work)

    assert rows(url) == [("c0", 5, 5)]
    assert letters(url) == [("order-1", 1, "failed")]


def test_each_call_has_context_variables_of_its_own(url: str) -> None:
    """A variable set by a handler is not seen at the next event."""
    work, seen = SqlProjection("work", shop), list[str]()
    tenant = ContextVar("tenant", default="none")

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        del connection
        seen.append(tenant.get())
        tenant.set(event.customer)

    apply(url, orders("order-1", 3), projection=work)

    assert seen == ["none"] * 3


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"])
def test_an_exception_that_ends_a_process_reaches_the_waiting_thread(url: str, error: BaseException) -> None:
    """As from a plain handler; nothing is committed, and the loop keeps running for others."""
    work, leave = SqlProjection("work", shop), True

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        await add(connection, event)
        if leave:
            raise error

    with projector(url, work) as running, pytest.raises(type(error)):
        running.apply(streams(1))
    assert rows(url) == []
    leave = False
    apply(url, streams(1), projection=work)

    assert rows(url) == [("c0", 1, 1)]


def test_a_cancellation_by_the_handlers_own_code_is_a_failure(url: str) -> None:
    """Of the event, which is parked; of nothing else."""
    work = SqlProjection("work", shop)

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        await add(connection, event)
        if event.customer == "c1":
            raise asyncio.CancelledError

    apply(url, streams(3), projection=work)

    assert [customer for customer, _, _ in rows(url)] == ["c0", "c2"]
    assert letters(url) == [("order-1", 1, "failed")]


def test_try_later_makes_a_stream_wait(url: str) -> None:
    """In one lane, while the other lanes' streams are committed."""
    work, is_away = Handlers("work", shop, concurrency=3), {"c4"}

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        await add(connection, event)
        if event.customer in is_away:
            raise TryLater(0.01, "the rates are away")

    source = Given(streams(9))
    waiting = SetAside(work.handlers, Breakers("work"))
    with projector(url, work, aside=waiting) as running:
        running.step(source)
        assert ("order-4" in waiting, letters(url)) == (True, [])
        assert "c4" not in [customer for customer, _, _ in rows(url)]
        is_away.clear()
        wait_until(lambda: running.step(source) == 0 and len(source.acknowledged) == 9, timeout=60)

    assert len(rows(url)) == 9


def test_handlers_that_fail_in_several_lanes_park_their_streams_alone(url: str) -> None:
    """All others take effect once."""
    work = SqlProjection("work", shop, concurrency=4)

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        await add(connection, event)
        if event.customer in ("c3", "c11", "c17"):
            await connection.execute(text("select 1/0"))

    done = apply(url, streams(20, events=2), projection=work)

    assert {stream for stream, _, _ in letters(url)} == {"order-3", "order-11", "order-17"}
    assert rows(url, "select orders from totals") == [(2,)] * 17
    assert (done.counters.applied, done.counters.parked) == (34, 6)


def test_two_lanes_that_deadlock_are_tried_again(url: str) -> None:
    """PostgreSQL ends one of them, whose events are no fault of it."""
    work, both = SqlProjection("work", shop, concurrency=2), asyncio.Event()
    seen = set[str]()

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        here, there = ("x", "y") if event.customer == "c0" else ("y", "x")
        await add(connection, Ordered(here, 1))
        seen.add(event.customer)
        if len(seen) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 60)
        await add(connection, Ordered(there, 1))

    apply(url, streams(2), projection=work)

    assert (rows(url), letters(url)) == ([("x", 2, 2), ("y", 2, 2)], [])


def test_a_handler_that_swallows_a_database_error_does_not_half_succeed(url: str) -> None:
    """PostgreSQL has aborted the transaction: its lane's events fail, the others do not."""
    work = SqlProjection("work", shop, concurrency=2)

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        await add(connection, event)
        if event.customer == "c1":
            with suppress(DBAPIError):
                await connection.execute(text("select 1/0"))

    apply(url, streams(4), projection=work)

    assert [customer for customer, _, _ in rows(url)] == ["c0", "c2", "c3"]
    assert letters(url) == [("order-1", 1, "failed")]


def test_an_append_does_not_await(url: str) -> None:
    """So an inline projection with `async def` handlers is refused."""
    del url
    work = SqlProjection("work", shop)

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered) -> None:
        await add(connection, event)

    with pytest.raises(ProjectionError, match="cannot await"):
        Inline(work)


@pytest.mark.parametrize("concurrency", [0, -1, 65])
def test_a_concurrency_that_makes_no_sense_is_refused(concurrency: int) -> None:
    """Each takes a connection."""
    with pytest.raises(ProjectionError, match=f"concurrency={concurrency} must be 1 to 64"):
        SqlProjection("work", shop, concurrency=concurrency)
