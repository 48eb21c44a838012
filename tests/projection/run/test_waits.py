"""Every process knows which handlers wait: `status` and `doctor` say since when, why, and when they are tried."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from eventkit.cli import main
from eventkit.errors import TryLater
from eventkit.projection.failure.breaker import Breakers
from eventkit.projection.failure.set_aside import SetAside
from eventkit.projection.retry_policy import Retry
from eventkit.projection.run.waits_report import WaitsReport
from eventkit.storage.projections.handler_waits import HandlerWaits, WaitingHandler
from tests.process import EventkitProcess
from tests.projection.run.outage import Api, go_on, handlers, working
from tests.projection.shop import Given, letters, orders, rows, store
from tests.waiting import wait_until

LONG = 120  # seconds: the machine may be busy
STREAMS = {f"order-{number}": customer for number, customer in enumerate(("eve", "ann", "bob"))}


@pytest.fixture
def worker(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventkitProcess]:
    """A process that handles three orders of different customers from the store, when it is started."""
    monkeypatch.setenv("OUTAGE_FOLDER", str(tmp_path))
    for stream, customer in STREAMS.items():
        store(url, orders(stream, 1, customer=customer))
        with psycopg.connect(url) as connection:
            connection.execute("insert into eventkit.streams values (%s, 1)", (stream,))
    words = ["projector", "run", "tests.projection.run.outage_models:work", "--from", "store"]
    process = EventkitProcess(url, "", tmp_path / "log", *words)
    yield process
    process.kill()


def run(url: str, *words: str) -> str:
    """Run a command of `eventkit`; return its output."""
    environment = {"EVENTKIT_DATABASE_URL": url, "EVENTKIT_TRANSPORT_URL": None, "COLUMNS": "80"}
    return CliRunner().invoke(main, list(words), env=environment).stdout


def waits(url: str) -> list[dict[str, Any]]:
    """Return the waiting handlers by `status`; none before the projection is registered."""
    found = run(url, "projection", "status", "work", "--json")
    return json.loads(found)[0]["waits"] if found else []


def done(url: str) -> list[tuple[Any, ...]]:
    """Return the customers whose orders were handled."""
    return rows(url, "select customer from totals order by 1")


def test_a_status_names_the_waiting_handler_its_error_and_its_times(
    url: str, worker: EventkitProcess, tmp_path: Path
) -> None:
    """In JSON, in text of 80 columns and in the check-up; nothing of an event is shown; afterwards nothing is left."""
    (tmp_path / "away").touch()
    worker.start()
    (wait,) = wait_until(lambda: [each for each in waits(url) if each["streams"] == 3], timeout=LONG)

    assert (wait["projection"], wait["source"], wait["type"], wait["is_open"]) == ("work", "shop", "Ordered", True)
    assert wait["handler"] == "tests.projection.run.outage_models.ordered"
    assert wait["reason"].startswith("ConnectionRefusedError at outage_models.py:")
    assert wait["process"].endswith(f":{worker.pid}")
    assert wait["attempts"] > 0
    text = run(url, "projection", "status", "work")
    assert "breaker open, 3 streams wait" in " ".join(text.split())
    assert "policy    Ordered: attempts 4, backoff 0.3 to 0.3 s" in text
    assert "timeout 90 s" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    checked = " ".join(run(url, "doctor").split())
    assert "projection work: 3 streams of Ordered wait" in checked
    assert not [name for name in STREAMS.values() if f"nobody answers {name}" in text + checked]

    (tmp_path / "away").unlink()
    wait_until(lambda: len(done(url)) == 3 and not waits(url), timeout=LONG)
    assert letters(url) == []


def test_a_process_that_is_killed_leaves_no_trace_for_long(url: str, worker: EventkitProcess, tmp_path: Path) -> None:
    """Its row counts for a minute; the next process deletes it."""
    (tmp_path / "away").touch()
    worker.start()
    wait_until(lambda: waits(url), timeout=LONG)
    first = worker.pid
    worker.kill()
    with psycopg.connect(url) as connection:
        connection.execute("update eventkit.handler_waits set seen_at = now() - interval '61 seconds'")
    assert waits(url) == []

    worker.start()
    (wait,) = wait_until(lambda: waits(url), timeout=LONG)

    assert rows(url, f"select count(*) from eventkit.handler_waits where process like '%:{first}'") == [(0,)]
    assert wait["process"].endswith(f":{worker.pid}")


def test_a_kill_between_two_attempts_parks_nothing_and_the_next_process_makes_all_of_them(
    url: str, worker: EventkitProcess, tmp_path: Path
) -> None:
    """Attempts are counted in memory; the event was not acknowledged, so it comes again."""
    (tmp_path / "bug").touch()
    worker.start()
    wait_until(lambda: (tmp_path / "calls").exists() and "eve" in (tmp_path / "calls").read_text(), timeout=LONG)
    worker.kill()
    before = (tmp_path / "calls").read_text().count("eve")
    if before < 4:
        assert letters(url) == []

    worker.start()
    wait_until(lambda: letters(url), timeout=LONG)

    assert rows(url, "select stream, cause, attempts from eventkit.dead_letters") == [("order-0", "failed", 4)]
    assert (tmp_path / "calls").read_text().count("eve") in (4, before + 4)
    wait_until(lambda: done(url) == [("ann",), ("bob",)], timeout=LONG)


def test_retried_streams_are_reported_while_no_breaker_is_open(url: str) -> None:
    """By the policy's own pause."""
    api = Api()
    api.away = lambda: ValueError("a bug")
    source = Given(orders("order-1", 1))
    with working(url, api, Retry(attempts=9)) as running:
        running.step(source)
        running.report_waits()
        with psycopg.connect(url) as connection:
            (wait,) = HandlerWaits("eventkit").all(connection)
        assert (wait.is_open, wait.streams, wait.attempts) == (False, 1, 1)
        assert wait.reason.startswith("ValueError at outage.py:")
        api.away = None
        go_on(running, source, api, lambda: len(source.acknowledged) == 1)


def test_nothing_is_written_while_nothing_waits(url: str) -> None:
    """Not a statement an event, nor one in a while."""
    del url
    written: list[Sequence[WaitingHandler]] = []
    aside = SetAside(handlers(Api()).handlers, Breakers("work"))
    report = WaitsReport(aside, lambda _, waiting: written.append(waiting))

    for _ in range(1_000):
        report.report()

    assert written == []


def test_rows_of_other_processes_stay_and_those_of_dead_ones_go(url: str) -> None:
    """One statement replaces all rows of a process, also beside another."""
    storage = HandlerWaits("eventkit")
    one = WaitingHandler("shop", "Ordered", "f", is_open=True, since=5, reason="OSError", attempts=1, streams=1, next=2)
    two = WaitingHandler("shop", "Left", "g", is_open=False, since=1, reason="KeyError", attempts=2, streams=3, next=0)
    with psycopg.connect(url, autocommit=True) as connection:
        for process, waiting in (("a:1", [one, two]), ("b:1", [one]), ("dead:1", [one]), ("a:1", [two])):
            storage.write(connection, "work", process, waiting)
            storage.write(connection, "work", process, waiting)
        storage.write(connection, "other", "a:1", [one])
        connection.execute(
            "update eventkit.handler_waits set seen_at = now() - interval '1 day' where process ~ 'dead'"
        )
        found = [(each.process, each.type) for each in storage.all(connection, "work")]
        storage.write(connection, "work", "b:1", [])
        left = rows(url, "select projection, process, type from eventkit.handler_waits order by 1, 2")

    assert found == [("a:1", "Left"), ("b:1", "Ordered")]
    assert left == [("other", "a:1", "Ordered"), ("work", "a:1", "Left")]


def test_a_deleted_projection_waits_for_nothing(url: str) -> None:
    """Its rows go with it."""
    api = Api()
    api.away = lambda: OSError("down")
    with working(url, api) as running:
        running.step(Given(orders("order-1", 1)))
        running.report_waits()
    assert rows(url, "select count(*) from eventkit.handler_waits") == [(1,)]

    run(url, "projection", "delete", "work", "--yes")

    assert rows(url, "select count(*) from eventkit.handler_waits") == [(0,)]


@pytest.mark.parametrize(
    ("seconds", "most"), [(-5, 0), (0, 0), (1e15, 86_400), (1e300, 86_400), (float("inf"), 86_400)], ids=str
)
def test_a_service_may_ask_for_any_pause(url: str, seconds: float, most: float) -> None:
    """A time that has passed means now, and a pause is a day at most: no event is parked, and the wait is shown."""
    api = Api()
    api.away = lambda: TryLater(seconds)
    source = Given(orders("order-1", 1))
    with working(url, api) as running:
        running.step(source)
        running.report_waits()
        with psycopg.connect(url) as connection:
            (wait,) = HandlerWaits("eventkit").all(connection)

    assert letters(url) == []
    assert wait.next_in <= most + 1
