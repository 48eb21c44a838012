"""Workers while servers are there, away or frozen: they stay live, and say why they are not ready."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.storage.events import EventStore
from eventkit.storage.migrate import upgrade
from eventkit.transports import open_transport
from tests.health.stuck import BLOCKED
from tests.health.worker import WORK_LIMIT, Worker, freeze, thaw
from tests.projection.shop import Noted, shop
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

NAMES = ("relay", "timers", "projector")


@pytest.fixture(scope="module")
def database() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this module's own, with eventkit's tables."""
    with EmbeddedPostgres() as server:
        upgrade(server.url)
        yield server


@pytest.fixture(scope="module")
def broker() -> Iterator[RedisServer]:
    """A Redis of this module's own."""
    server = RedisServer().start()
    transport = open_transport(server.url)
    transport.create_topics(["shop.order"], partitions=2)
    transport.close()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def workers(
    database: EmbeddedPostgres, broker: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Worker]]:
    """A relay, the timers, and a projector that reads the broker."""
    folder = tmp_path_factory.mktemp("workers")
    append(database.url)
    words = {
        "relay": ("relay", "run"),
        "timers": ("timers", "run"),
        "projector": ("projector", "run", "tests.health.stuck:quick"),
    }
    started = {name: Worker(database.url, broker.url, folder / name, *words[name]) for name in NAMES}
    yield started
    for worker in started.values():
        worker.__exit__(None, None, None)


def append(url: str, number: int = 1) -> None:
    """Append an event."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with Session(engine) as session, session.begin():
        EventStore(shop).append(session, shop.stream("order", str(number)), Noted("x"))
    engine.dispose()


def test_workers_become_ready(workers: dict[str, Worker]) -> None:
    """With everything there, each check says yes with a reason, and all loops are live."""
    for worker in workers.values():
        worker.becomes("/readyz", 200)
        assert worker.status("/livez") == 200
        assert worker.status("/startupz") == 200
    assert set(workers["relay"].checks()) == {"database", "schema", "lease", "broker"}
    assert set(workers["timers"].checks()) == {"database", "schema", "lease"}
    assert set(workers["projector"].checks()) == {"database", "schema", "broker"}
    assert workers["relay"].checks()["lease"]["reason"] == "holds relay 0/1, epoch 1"
    assert set(workers["relay"].loops()) == {"relay", "relay reader", "relay settlement"}
    assert set(workers["projector"].loops()) == {"projector quick"}


def test_idle_loops_note_their_waits(workers: dict[str, Worker]) -> None:
    """With nothing to do, each loop waits for something named, or has noted a wait since the test began."""
    began = time.monotonic()
    for name, worker in workers.items():
        wait_until(partial(all_are_noted, worker, began), what=f"a note of each loop of {name}: {worker.loops()}")


def all_are_noted(worker: Worker, began: float) -> bool:
    """Whether each loop waits without a limit, or has begun or ended a wait since a time."""
    elapsed = time.monotonic() - began
    return all(each["limit"] is None or each["seconds"] < elapsed for each in worker.loops().values())


def test_a_frozen_database_is_not_ready_and_live(workers: dict[str, Worker], database: EmbeddedPostgres) -> None:
    """A statement that gets no answer is a noted wait, however long it takes; readiness names the database."""
    frozen = freeze(database.pid)
    try:
        for worker in workers.values():
            worker.fails("database")
        held = 'eventkit_lease_held{lease="relay 0/1"}'
        wait_until(lambda: workers["relay"].metric(held) == 0, what="a relay that knows it has lost its lease")
        for name, worker in workers.items():
            wait_until(partial(waits_long, worker), what=f"a long wait of {name}: {worker.loops()}")
            assert worker.status("/livez") == 200
    finally:
        thaw(frozen)
    for worker in workers.values():
        worker.becomes("/readyz", 200)


def waits_long(worker: Worker) -> bool:
    """Whether a loop has waited for the database for longer than a loop may work."""
    loops = worker.loops().values()
    return any(each["waits_for"] == "the database" and each["seconds"] > WORK_LIMIT for each in loops)


def test_a_database_away_is_not_ready_and_live(workers: dict[str, Worker], database: EmbeddedPostgres) -> None:
    """A refused connection is a reason with words, and the worker waits for the server's return."""
    database.crash()
    try:
        for worker in workers.values():
            worker.fails("database")
            assert worker.status("/livez") == 200
        assert "cannot be reached" in workers["timers"].checks()["database"]["reason"]
        assert "lease" in workers["relay"].checks()
    finally:
        database.restart()
    for worker in workers.values():
        worker.becomes("/readyz", 200)


@pytest.mark.parametrize("fault", ["away", "frozen"])
def test_a_broker_away_is_not_ready_and_live(workers: dict[str, Worker], broker: RedisServer, fault: str) -> None:
    """Only the workers that need the broker are not ready, and none is restarted for it."""
    if fault == "away":
        broker.kill()
    else:
        broker.pause()
    try:
        for name in ("relay", "projector"):
            workers[name].fails("broker")
            assert not workers[name].has_failed("database")
            assert workers[name].status("/livez") == 200
        assert workers["timers"].status("/readyz") == 200
    finally:
        if fault == "away":
            broker.start()
        else:
            broker.resume()
    for worker in workers.values():
        worker.becomes("/readyz", 200)


def test_metrics_count_what_the_workers_do(workers: dict[str, Worker], database: EmbeddedPostgres) -> None:
    """An event passes the relay and the projector, and their metrics say so, with its ages."""
    relay, projector = workers["relay"], workers["projector"]
    before = relay.metric("eventkit_relay_settled_events_total") or 0.0
    append(database.url, 2)

    wait_until(lambda: (relay.metric("eventkit_relay_settled_events_total") or 0) > before, what="a settled event")
    applied = 'eventkit_projection_applied_events_total{projection="quick"}'
    wait_until(lambda: (projector.metric(applied) or 0) >= 1, what="an applied event")
    assert (relay.metric("eventkit_relay_published_events_total") or 0) >= 1
    assert relay.metric("eventkit_relay_swept_events_total") == 0
    assert relay.metric('eventkit_lease_held{lease="relay 0/1"}') == 1
    assert (relay.metric("eventkit_relay_commit_to_acknowledged_seconds_count") or 0) >= 1
    age = 'eventkit_projection_recorded_to_applied_seconds_count{projection="quick"}'
    assert (projector.metric(age) or 0) >= 1
    assert (projector.metric("process_resident_memory_bytes") or 0) > 0


def test_a_standby_is_ready(workers: dict[str, Worker], database: EmbeddedPostgres, tmp_path: Path) -> None:
    """A worker that waits for another one's lease is ready to take over."""
    with Worker(database.url, "", tmp_path / "standby", "timers", "run") as standby:
        standby.becomes("/readyz", 200)

        assert standby.checks()["lease"]["reason"] == "stands by for timers"
        assert standby.metric('eventkit_lease_held{lease="timers"}') == 0
        assert standby.loops()["timers"]["waits_for"] in ("the database", "the lease")
        assert workers["timers"].checks()["lease"]["ok"]


def test_a_handler_past_its_limit_is_not_live(database: EmbeddedPostgres, tmp_path: Path) -> None:
    """A handler that never returns is found after its own time limit, and is live again when it returns."""
    blocked = tmp_path / "blocked"
    blocked.touch()
    words = ("projector", "run", "tests.health.stuck:stuck", "--from", "store")
    append(database.url, 3)
    with Worker(database.url, "", tmp_path / "log", *words, more={BLOCKED: str(blocked)}) as projector:
        projector.becomes("/livez", 503)

        loop = projector.loops()["projector stuck"]
        assert (loop["waits_for"], loop["limit"], loop["is_stuck"]) == ("a handler", 1.0, True)
        blocked.unlink()
        projector.becomes("/livez", 200)
