"""A paused projection applies nothing and continues where it was, on each broker, over kills and restarts."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, text

from eventkit.config import Settings
from eventkit.projection.define import Projection, SqlProjection
from eventkit.projection.delete import delete
from eventkit.projection.rebuild import RebuildPlan, RebuildRun
from eventkit.projection.run import ProjectionRunner, SourceOptions
from eventkit.storage.pauses import Pauses
from eventkit.worker import Stop
from tests.process import EventkitProcess
from tests.projection.recorded import record
from tests.projection.run.test_running import MODELS, ROOT, environment, run
from tests.projection.shop import Ordered, letters, message, orders, rows, shop, store
from tests.projection.shop import totals as make
from tests.surroundings.rig import COUNTED, acting, category, order, relayed, totals
from tests.waiting import wait_until


@contextmanager
def pauses(url: str) -> Iterator[Pauses]:
    """The pauses of a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield Pauses(connection, "eventkit")


def pause(url: str, name: str = "totals", *, reason: str = "a wrong price") -> None:
    """Pause a projection."""
    with pauses(url) as there:
        assert there.pause("projection", name, actor="ann", reason=reason).changed


def resume(url: str, name: str = "totals") -> None:
    """Resume it."""
    with pauses(url) as there:
        assert there.resume("projection", name, actor="ann").changed


@contextmanager
def working(runner: ProjectionRunner) -> Iterator[None]:
    """Run a projection on a thread."""
    stop = Stop()
    thread = threading.Thread(target=runner.work, args=(stop,), daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def test_a_pause_outlives_kills_and_restarts(url: str, tmp_path: Path) -> None:
    """Each process says so once, is started and stopped as ever, and applies nothing until the resume."""
    words = ("projector", "run", f"{MODELS}:totals", f"{MODELS}:first", "--from", "store")
    process = EventkitProcess(url, "local://x", tmp_path / "log", *words)
    store(url, orders("order-1", 5))
    with process:
        wait_until(lambda: rows(url) == [("ann", 10, 10)], what="both projections")
        pause(url)
        process.says("projector totals waits: projection 'totals' is paused by ann (a wrong price): it applies nothing")
        process.kill()
        store(url, orders("order-1", 5, first=6))
        with process:
            wait_until(lambda: rows(url) == [("ann", 15, 15)], what="the projection beside it")
            wait_until(lambda: process.log().count("totals waits") == 2, what="the second process, which waits")
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
        with process:
            wait_until(lambda: process.log().count("totals waits") == 3, what="the third process, which waits")
            assert rows(url) == [("ann", 15, 15)]
            resume(url)
            wait_until(lambda: rows(url) == [("ann", 20, 20)], what="the events of the pause")
            process.says("projector totals continues")
    assert letters(url) == []


@pytest.mark.parametrize("broker", ["kafka", "rabbitmq", "redis", "activemq"])
@pytest.mark.parametrize("made", [totals, acting])
def test_on_each_broker_the_events_of_a_pause_wait_and_come_once(
    url: str, broker: str, made: Callable[[str], Projection], request: pytest.FixtureRequest
) -> None:
    """A read model, and handlers that must not act twice: they leave the group, and find their place again."""
    broker = str(request.getfixturevalue(broker).url)
    name = category(broker)
    projection = made(name)
    runner = ProjectionRunner(projection, Settings(database_url=url, transport_url=broker), SourceOptions())
    with working(runner):
        order(url, name, *range(10))
        relayed(url, broker)
        wait_until(lambda: rows(url, COUNTED) == [("ann", 10)], what="the events before the pause")
        pause(url, projection.name)
        wait_until(lambda: runner.waits, what="the projector, which waits")
        order(url, name, *range(20))
        relayed(url, broker)
        resume(url, projection.name)
        wait_until(lambda: rows(url, COUNTED) == [("ann", 30)], what="the events of the pause")
        assert runner.waits is None
    assert letters(url) == []
    assert runner.counters.applied == 30


def test_a_batch_under_way_ends_and_the_next_one_does_not_begin(url: str) -> None:
    """A pause waits for nobody; events that were applied are not applied again after it."""
    projection = SqlProjection("slow", shop, categories=["order"])

    @projection.on(Ordered)
    def ordered(connection: Connection, event: Ordered) -> None:
        connection.execute(text("insert into totals (customer, orders) values (:c, 1)"), {"c": event.customer})
        if event.customer == "3":
            pause(url, "slow")

    store(url, [message("order-1", version, Ordered(str(version), 1)) for version in range(1, 11)])
    runner = ProjectionRunner(projection, Settings(database_url=url), SourceOptions(from_store=True))
    with working(runner):
        wait_until(lambda: runner.waits, what="the projector, which waits")
        assert len(rows(url)) == 10
        store(url, [message("order-1", version, Ordered(str(version), 1)) for version in range(11, 16)])
        resume(url, "slow")
        wait_until(lambda: len(rows(url)) == 15, what="the events of the pause")
    assert letters(url) == []
    assert runner.counters.applied == 15


def test_a_rebuild_is_not_stopped_by_a_pause_and_does_not_end_it(url: str) -> None:
    """It is the operator's own act, and swaps in; afterwards the projector applies nothing, as before."""
    record(url, orders("order-1", 5))
    settings, from_store = Settings(database_url=url), SourceOptions(from_store=True)
    ProjectionRunner(make(), settings, from_store).preflight()
    pause(url)

    assert RebuildRun(make(), settings, RebuildPlan(workers=1)).run().events == 5

    assert rows(url) == [("ann", 5, 5)]
    record(url, orders("order-2", 5))
    runner = ProjectionRunner(make(), settings, from_store)
    with working(runner):
        wait_until(lambda: runner.waits, what="the projector, which waits")
        assert rows(url) == [("ann", 5, 5)]
        resume(url)
        wait_until(lambda: rows(url) == [("ann", 10, 10)], what="the events of the pause")


def test_a_redrive_by_own_code_is_refused_with_the_way_out(url: str) -> None:
    """The letter stays, and so does the request for a projector."""
    store(url, [message("order-1", 1, Ordered("ann", -1))])
    run(url, f"{MODELS}:totals", "--from", "store", "--until-idle", "0.3")
    pause(url)

    words = ["dead-letters", "redrive", "--all", "--yes", "--code", f"{MODELS}:mended"]
    done = subprocess.run(
        [sys.executable, "-m", "eventkit.cli", *words], env=environment(url), cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "it applies nothing until `eventkit projection resume totals`" in done.stderr
    assert letters(url) == [("order-1", 1, "failed")]


def test_a_deleted_projection_ends_its_paused_projector(url: str, tmp_path: Path) -> None:
    """There is nothing to wait for."""
    process = EventkitProcess(
        url, "local://x", tmp_path / "log", "projector", "run", f"{MODELS}:totals", "--from=store"
    )
    with process:
        wait_until(lambda: rows(url, "select name from eventkit.projections"), what="its registration")
        pause(url)
        process.says("totals waits")
        with psycopg.connect(url, autocommit=True) as connection:
            delete(connection, "eventkit", "totals", tables=False)
        assert process.wait() == 1
    process.says("projection 'totals' is not registered any more")


def test_a_job_that_ends_when_nothing_comes_fails_in_a_pause(url: str) -> None:
    """Exit code 0 would say that everything is applied."""
    run(url, f"{MODELS}:totals", "--from", "store", "--until-idle", "0.3")
    store(url, orders("order-1", 5))
    pause(url, reason="")

    done = run(url, f"{MODELS}:totals", "--from", "store", "--until-idle", "0.3")

    assert done.returncode == 1
    assert "eventkit: projection 'totals' is paused by ann: it applies nothing until" in done.stderr
    assert rows(url) == []
