"""A hung, dead or slow neighbour delays only its own streams: others go around the rows it has locked."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from eventkit.config import Settings
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.apply.parking import StreamParking
from eventkit.projection.apply.transaction_retry import TransactionRetry
from eventkit.projection.failure import set_aside
from eventkit.projection.failure.breaker import Breakers
from eventkit.projection.failure.error_class import translated
from eventkit.projection.failure.set_aside import SetAside
from eventkit.projection.rebuild import swap as swapping
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from eventkit.projection.rebuild.swap import Swap
from eventkit.projection.retry_policy import Backoff
from eventkit.projection.run.connections import Connections
from eventkit.projection.run.projector import Projector
from eventkit.projection.transaction import OwnTransaction
from eventkit.storage.events.stream_history import OwnHistory
from eventkit.storage.projections.live_tables import LiveTable
from eventkit.storage.projections.swap_tables import lock_tables
from tests.projection.recorded import record
from tests.projection.run.test_running import MODELS, environment, run, running
from tests.projection.shop import Given, Ordered, checkpoints, letters, message, orders, rows, store, totals
from tests.waiting import wait_until

STREAMS = 60


@contextmanager
def working(url: str) -> Iterator[Projector]:
    """Run a projector on a session as it has in a process."""
    projection = totals()
    connection = Connections("totals", Settings(database_url=url), None).batches(projection.timeout)
    workspace = OwnTransaction(connection)
    waiting = SetAside(projection.handlers, Breakers("totals"))
    applying = BatchApplier(projection, workspace, schema="eventkit")
    running_one = Projector(applying, history=OwnHistory(connection, "eventkit"), aside=waiting)
    running_one.start()
    yield running_one
    workspace.close()


@contextmanager
def hung(url: str, streams: list[str], *, customer: str | None = None) -> Iterator[psycopg.Connection[object]]:
    """Hold the locks of a projector that stops in the middle of a batch of these streams."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "select generation, pg_advisory_xact_lock_shared(1, 1) from eventkit.projections for key share"
        )
        connection.execute(
            "insert into eventkit.checkpoints as k (generation, stream, version, digest)"
            " select generation, stream, 1, 0 from eventkit.projections, unnest(%s::text[]) stream order by stream"
            " on conflict (generation, stream) do update set version = k.version + 1",
            (streams,),
        )
        if customer:
            connection.execute("select 1 from totals where customer = %s for update", (customer,))
        yield connection
        connection.rollback()


def step_until(projector: Projector, source: Given, done: Callable[[], bool], *, timeout: float) -> None:
    """Let a projector work until something is so."""

    def step() -> bool:
        projector.step(source)
        return done()

    wait_until(step, timeout=timeout)


@pytest.mark.parametrize("known", [True, False], ids=["streams that have checkpoints", "new streams"])
def test_streams_that_another_process_has_locked_are_set_aside(url: str, *, known: bool) -> None:
    """The others are applied after one wait of two seconds; those that were locked, in order, when they are free."""
    names = [f"order-{number:02}" for number in range(STREAMS)]
    first = 2 if known else 1
    batch = [event for name in names for event in orders(name, 3, customer=f"c{name}", first=first)]
    source = Given(batch, [event for name in names for event in orders(name, 1, customer=f"c{name}", first=first + 3)])
    with working(url) as projector:
        if known:
            projector.apply([orders(name, 1, customer=f"c{name}")[0] for name in names])
        with hung(url, names[10:20]):
            free = {*names} - {*names[10:20]}
            step_until(projector, source, lambda: len(source.acknowledged) == 4 * len(free), timeout=60)
            assert {item.key for item in source.acknowledged} == free
            assert {name for name, at in checkpoints(url).items() if at == (first + 3, False)} == free
        step_until(projector, source, lambda: len(source.acknowledged) == 4 * STREAMS, timeout=60)

    assert set(checkpoints(url).values()) == {(first + 3, False)}
    assert rows(url, "select distinct orders from totals") == [(first + 3,)]
    assert letters(url) == []


def test_many_new_streams_that_another_process_creates_delay_no_other(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are found by trying, some in each round, however slow: no other stream waits for the last of them."""
    monkeypatch.setattr(TransactionRetry, "run", slowed(TransactionRetry.run))
    names = [f"order-{number:02}" for number in range(40)]
    locked, free = names[::2], names[1::2]
    source = Given([event for name in names for event in orders(name, 1, customer=f"c{name}")])
    with working(url) as projector:
        with hung(url, locked):
            step_until(projector, source, lambda: len(source.acknowledged) == len(free), timeout=120)
            assert {item.key for item in source.acknowledged} == {*free}
        step_until(projector, source, lambda: len(source.acknowledged) == len(names), timeout=60)

    assert rows(url, "select orders, count(*) from totals group by 1") == [(1, len(names))]


@pytest.mark.parametrize("hole", [False, True], ids=["a run", "a run with a hole"])
def test_a_stream_that_waits_for_a_lock_is_skipped(url: str, *, hole: bool) -> None:
    """It is tried again without waiting: here a wait has no end but that of its statement."""
    waiting = orders("order-1", 4)
    source = Given([*(waiting[::2] if hole else waiting), *orders("order-2", 1)], orders("order-2", 1, first=2))
    with working(url) as projector, hung(url, ["order-1"]):
        step_until(projector, source, lambda: len(source.acknowledged) == 1, timeout=60)
        with projector._applier.workspace.transaction() as connection:
            connection.execute("set lock_timeout = '600s'")
            connection.execute("set statement_timeout = '60s'")
        assert projector._aside
        waiting_ones = projector._aside._waiting
        due = waiting_ones["order-1"].due
        step_until(projector, source, lambda: waiting_ones["order-1"].due > due + 2, timeout=60)

    assert [item.key for item in source.acknowledged] == ["order-2"] * 2


def test_a_stream_that_is_locked_when_it_is_to_be_parked_is_set_aside(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event has failed, and another process has its checkpoint by then: it is parked when the lock is gone."""
    monkeypatch.setattr(Backoff, "pause", lambda *_: 0.001)
    real = StreamParking.park
    source = Given([*orders("order-1", 1), message("order-1", 2, Ordered("eve", -1)), *orders("order-2", 1)])
    with working(url) as projector, psycopg.connect(url) as other:

        def park(self: StreamParking, *given: Any, **named: Any) -> Any:  # noqa: ANN401 as the real one
            other.execute("select from eventkit.checkpoints where stream = 'order-1' for update")
            return real(self, *given, **named)

        monkeypatch.setattr(StreamParking, "park", park)
        step_until(projector, source, lambda: bool(projector._aside and projector._aside.locked), timeout=60)
        assert letters(url) == []
        monkeypatch.setattr(StreamParking, "park", real)
        other.rollback()
        step_until(projector, source, lambda: len(source.acknowledged) == 3, timeout=60)

    assert letters(url) == [("order-1", 2, "failed")]
    assert rows(url) == [("ann", 2, 2)]


RunWork = Callable[..., Any]


def slowed(run: RunWork) -> RunWork:
    """Return `run` on a machine that needs a tenth of a second for each transaction."""

    def slow(self: TransactionRetry, *work: Any) -> Any:  # noqa: ANN401 as the work's
        time.sleep(0.1)
        return run(self, *work)

    return slow


def test_streams_whose_row_another_process_has_locked_are_set_aside(url: str) -> None:
    """Rows that several streams feed are locked by their key; the streams of other rows are applied."""
    names = [f"order-{number:02}" for number in range(STREAMS)]
    source = Given([event for name in names for event in orders(name, 2, customer="ab"[int(name[-1]) % 2])])
    with working(url) as projector:
        projector.apply([*orders("order-a", 1, customer="a"), *orders("order-b", 1, customer="b")])
        with hung(url, [], customer="a"):
            projector.step(source)
            step_until(projector, source, lambda: len(source.acknowledged) == STREAMS, timeout=60)
            assert {item.key[-1] for item in source.acknowledged} == set("13579")
        step_until(projector, source, lambda: len(source.acknowledged) == 2 * STREAMS, timeout=60)

    assert rows(url) == [("a", 61, 61), ("b", 61, 61)]


def test_a_locked_stream_waits_in_bounded_memory_and_is_logged(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond the bound nothing more is received, which the log says once; later all of it is applied, in order."""
    monkeypatch.setattr(set_aside, "MAX_BYTES", 50_000)
    batches = [orders("order-1", 10, customer="a", first=1 + 10 * number) for number in range(20)]
    source = Given(*batches, orders("order-2", 1, customer="b"))
    with working(url) as projector:
        with hung(url, ["order-1"]):
            step_until(projector, source, lambda: "receives nothing more: 1 streams wait" in caplog.text, timeout=60)
            left = len(source.batches)
            assert left > 5
            wait_until(lambda: projector.step(source) == 0, timeout=60)
            assert len(source.batches) == left
        step_until(projector, source, lambda: len(source.acknowledged) == 201, timeout=60)

    assert caplog.text.count("receives nothing more") == 1
    assert checkpoints(url) == {"order-1": (200, False), "order-2": (1, False)}


def test_others_are_read_for_as_long_as_one_stream_is_locked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any number: only waiting messages are noted, and without their data."""
    monkeypatch.setattr(set_aside, "MAX_NOTES", 5_000)
    others = [[*orders(f"order-{number}", 1, customer=f"c{number}")] for number in range(100, 200)]
    source = Given(orders("order-1", 3, customer="a"), *others)
    with working(url) as projector:
        with hung(url, ["order-1"]):
            step_until(projector, source, lambda: len(source.acknowledged) == 100, timeout=60)
            assert all(item.value for item in source.acknowledged)
        step_until(projector, source, lambda: len(source.acknowledged) == 103, timeout=60)

    assert [item.value for item in source.acknowledged[100:]] == [b"", b"", b""]


def test_a_process_that_hangs_in_a_transaction_delays_its_own_streams_only(url: str) -> None:
    """A projector of the store is stopped in the middle; an open inline append is one more transaction like it."""
    store(url, [event for number in range(20) for event in orders(f"order-{number}", 1, customer=f"c{number}")])
    run(url, f"{MODELS}:totals", "--from", "store", "--until-idle", "0.3")
    later = [event for n in range(200) for event in orders(f"order-{n}", 1, customer=f"c{n}", first=1 + (n < 20))]
    with (
        hung(url, [f"order-{number}" for number in range(5)], customer="c3"),
        running(environment(url), f"{MODELS}:totals", "--from", "store") as process,
    ):
        store(url, later)
        wait_until(lambda: rows(url, "select count(*) from totals where orders > 0") == [(200,)])
        assert rows(url, "select count(*) from totals where orders = 2") == [(15,)]
        process.terminate()
        process.communicate(timeout=60)

    run(url, f"{MODELS}:totals", "--from", "store", "--until-idle", "1")
    assert rows(url, "select orders, count(*) from totals group by 1 order by 1") == [(1, 180), (2, 20)]


@pytest.mark.parametrize("where", ["before the tables are locked", "after"])
def test_a_reader_waits_for_no_swap_for_more_than_two_seconds(
    url: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild that stops in its swap loses its session a second after its first lock: it never continues here."""
    record(url, orders("order-1", 3))
    stopped, go_on = threading.Event(), threading.Event()
    limits: list[object] = []
    real = lock_tables

    def stop(connection: psycopg.Connection[Any], tables: Sequence[LiveTable]) -> None:
        limits.append(connection.execute("show idle_in_transaction_session_timeout").fetchone())
        if where == "after":
            real(connection, tables)
        if not stopped.is_set():
            stopped.set()
            assert go_on.wait(600)
        if where != "after":
            real(connection, tables)

    monkeypatch.setattr(swapping, "lock_tables", stop)
    rebuild = threading.Thread(target=lambda: RebuildRun(totals(), Settings(database_url=url), RebuildPlan()).run())
    rebuild.start()
    assert stopped.wait(60)
    assert rows(url) == []
    go_on.set()
    rebuild.join(60)

    assert limits[0] == ("1s",)
    assert rows(url) == [("ann", 3, 3)]
    assert rows(url, "select count(*) from eventkit.rebuilds") == [(0,)]


def test_a_swap_whose_commit_was_not_answered_is_not_done_twice(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is lost after the commit: the rebuild looks, and has ended."""
    record(url, orders("order-1", 3))
    swap = Swap.run

    def lost(self: Swap, position: int) -> object:
        swap(self, position)
        self._applier.workspace.connection.close()
        raise psycopg.OperationalError("the connection is lost")

    def once(self: Swap, position: int) -> object:
        monkeypatch.setattr(Swap, "run", swap)
        try:
            return lost(self, position)
        except psycopg.Error as error:
            raise translated(error) from error

    monkeypatch.setattr(Swap, "run", once)
    outcome = RebuildRun(totals(), Settings(database_url=url), RebuildPlan()).run()

    assert outcome.generation == rows(url, "select generation from eventkit.projections")[0][0]
    assert rows(url) == [("ann", 3, 3)]
