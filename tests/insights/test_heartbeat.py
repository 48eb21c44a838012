"""Each worker process writes a heartbeat; a dead or hung one is shown as gone; a clean end deletes the row."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from eventkit import EventStore, heartbeat
from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.errors import DatabaseUnavailable
from eventkit.heartbeat import Heartbeat, Pace
from eventkit.insights import Insights, ProcessInsight
from eventkit.storage.db import connect
from eventkit.storage.processes import Heartbeats
from tests.process import EventkitProcess
from tests.projection.shop import Ordered, shop
from tests.servers.postgres import PostgresServer
from tests.waiting import wait_until

PROJECTION = "tests.projection.read_models:noted"
COMMANDS = {
    "relay": ("relay", "run"),
    "timers": ("timers", "run"),
    "projector": ("projector", "run", PROJECTION, "--from", "store"),
}
Workers = dict[str, EventkitProcess]


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> Iterator[str]:
    """One database for all tests."""
    url = postgres.fresh()
    yield url
    postgres.drop(url)


@pytest.fixture(scope="module")
def workers(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """A relay, a projector and the worker of deadlines."""
    logs = tmp_path_factory.mktemp("logs")
    with EmbeddedKafka() as broker, ExitStack() as stack:
        broker.create_topic("shop.order")
        yield {
            role: stack.enter_context(EventkitProcess(url, broker.url, logs / role, *words))
            for role, words in COMMANDS.items()
        }


@pytest.fixture
def insights(url: str) -> Iterator[Insights]:
    """The insights of the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield Insights(connection)


def process(insights: Insights, role: str) -> ProcessInsight | None:
    """Return the process of a role, if there is one."""
    return next((each for each in insights.processes().items if each.role == role), None)


def found(insights: Insights, role: str, condition: Callable[[ProcessInsight], Any]) -> ProcessInsight:
    """Wait until the process of a role fulfils a condition; return it."""

    def look() -> ProcessInsight | None:
        each = process(insights, role)
        return each if each is not None and condition(each) else None

    each = wait_until(look, what=f"the heartbeat of {role}; seen: {insights.processes()}")
    assert each is not None
    return each


def test_each_worker_says_who_it_is_and_how_far_it_is(url: str, workers: Workers, insights: Insights) -> None:
    """Role, host, process number; the relay's part, the projector's place in the store and its caught-up state."""
    with psycopg.connect(url) as connection:
        EventStore(shop).append(connection, "order-1", *[Ordered("ann", 1)] * 3)
    for role, worker in workers.items():
        assert found(insights, role, lambda each: not each.is_gone).pid == worker.pid

    relay = found(insights, "relay", lambda each: each.state["settled"] == 3)
    projector = found(insights, "projector", lambda each: each.state["projections"]["noted"]["applied"] == 3)
    found(insights, "projector", lambda each: each.state["projections"]["noted"]["shards"]["store"][1])

    part = insights.relay().parts[0]
    assert (part.leader_id, part.leader) == (relay.id, f"{relay.host}:{relay.pid}")
    assert part.since is not None
    assert (relay.state["published"], relay.state["swept"], relay.state["gaps"]) == (3, 0, 0)
    noted = insights.projection("noted")
    assert noted is not None
    assert (noted.run_by, noted.declared_version, noted.lag_seconds) == ((projector.id,), 1, 0.0)
    newest = insights.events(limit=1).items[0]
    assert [(shard.shard, shard.applied_at) for shard in noted.shards] == [("store", newest.recorded_at)]


def test_a_hung_worker_is_gone_until_it_continues(url: str, workers: Workers, insights: Insights) -> None:
    """Its row is not renewed; other processes' rows are."""
    found(insights, "timers", lambda each: not each.is_gone)
    found(insights, "relay", lambda each: not each.is_gone)
    workers["timers"].pause()
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("update eventkit.processes set seen_at = seen_at - interval '16 s'")
        found(insights, "relay", lambda each: not each.is_gone)
        hung = process(insights, "timers")
    finally:
        workers["timers"].resume()

    assert hung is not None
    assert hung.is_gone
    found(insights, "timers", lambda each: not each.is_gone)


def test_a_dead_worker_stays_in_the_list_and_a_clean_end_leaves_it(
    url: str, workers: Workers, insights: Insights
) -> None:
    """Kill -9 leaves a row that is gone by its age; SIGTERM deletes the row."""
    for role in workers:
        found(insights, role, lambda each: not each.is_gone)
    dead = found(insights, "timers", lambda each: not each.is_gone)
    workers["timers"].kill()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update eventkit.processes set seen_at = seen_at - interval '16 s' where id = %s", [dead.id])

    workers["projector"].terminate()
    workers["relay"].terminate()

    left = insights.processes().items
    assert [(each.id, each.is_gone) for each in left] == [(dead.id, True)]
    assert insights.relay().parts[0].leader is None


def test_rows_of_a_day_ago_are_forgotten_by_the_next_start(database_url: str) -> None:
    """Nor does the list grow with every crash of a worker that is started again and again."""
    with _connect(database_url, "test") as connection:
        insights = Insights(connection)
        columns = "(id, role, name, host, pid, version, started_at, seen_at)"
        connection.execute(
            f"""insert into eventkit.processes {columns}
                select gen_random_uuid(), 'relay', age, 'h', 1, '1', now(), now() - age::interval
                  from unnest('{{23 h,25 h}}'::text[]) a(age)"""
        )
        connection.execute(
            f"""insert into eventkit.processes {columns}
                select gen_random_uuid(), 'timers', 't', 'h', n, '1', now(), now() - n * interval '1 min'
                  from generate_series(1, 30) n"""
        )

        with Heartbeat(_opener(database_url), schema="eventkit", role="timers", name="t", state=dict):
            wait_until(lambda: [each for each in insights.processes().items if not each.is_gone], what="the new row")

        left = insights.processes().items
        assert [each.name for each in left if each.role == "relay"] == ["23 h"]
        assert sorted(each.pid for each in left if each.role == "timers") == list(range(1, 21))


def test_of_two_processes_that_know_a_shard_the_one_that_is_further_counts(database_url: str) -> None:
    """A process that has lost a shard to another one still reports its last place in it."""
    early, late = "2026-03-01T12:00:00+00:00", "2026-03-01T12:00:09+00:00"
    places = ({"shop.order/0": [early, True], "shop.order/1": [late, True]}, {"shop.order/0": [late, False]})
    with _connect(database_url, "test") as connection:
        connection.execute("insert into eventkit.projections (name, declared_version) values ('noted', 1)")
        for shards in places:
            state = json.dumps({"projections": {"noted": {"version": 2, "rate": 5, "shards": shards, "waits": None}}})
            connection.execute(
                """insert into eventkit.processes (id, role, name, host, pid, version, started_at, state)
                   values (gen_random_uuid(), 'projector', 'noted', 'h', 1, '1', now(), %s)""",
                [state],
            )

        noted = Insights(connection).projection("noted")

    assert noted is not None
    assert [(each.shard, each.applied_at.isoformat(), each.is_caught_up) for each in noted.shards] == [
        ("shop.order/0", late, False),
        ("shop.order/1", late, True),
    ]
    assert (noted.declared_version, noted.rate, len(noted.run_by)) == (2, 10, 2)
    assert noted.lag_seconds is not None  # it has applied nothing here: the processes alone know
    assert noted.lag_seconds > 1


def test_a_database_that_is_away_is_said_once_and_written_to_later(
    database_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost connections too: the heartbeat connects again, and the work never notices."""
    monkeypatch.setattr(heartbeat, "_INTERVAL", 0.01)
    away, opened = [DatabaseUnavailable("nobody listens")] * 5, list[psycopg.Connection[Any]]()

    def open_later(name: str) -> psycopg.Connection[Any]:
        if away:
            raise away.pop()
        opened.append(_connect(database_url, name))
        return opened[-1]

    with _connect(database_url, "test") as connection:
        insights = Insights(connection)
        with Heartbeat(open_later, schema="eventkit", role="timers", name="patient", state=dict):
            first = found(insights, "timers", lambda each: each.name == "patient")
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'eventkit heartbeat'"
            )
            wait_until(lambda: len(opened) > 1, what="a second connection")
            found(insights, "timers", lambda each: each.seen_at > first.seen_at)

        assert caplog.text.count("nobody listens") == 1
        assert insights.processes().items == ()


def test_a_role_without_the_grant_says_so_once_and_works_on(
    database_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heartbeat ends; the process does not."""
    monkeypatch.setattr(heartbeat, "_INTERVAL", 0.01)
    opened: list[str] = []

    def as_a_reader(name: str) -> psycopg.Connection[Any]:
        opened.append(name)
        connection = _connect(database_url, name)
        connection.execute("set role pg_monitor")
        return connection

    with Heartbeat(as_a_reader, schema="eventkit", role="timers", name="t", state=dict) as beating:
        wait_until(lambda: not beating.is_alive, what="the end of the heartbeat")

    assert caplog.text.count("denies a privilege") == 1
    assert opened == ["heartbeat"]


def test_a_fault_in_the_counters_does_not_end_the_heartbeat(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next beat has them again."""
    monkeypatch.setattr(heartbeat, "_INTERVAL", 0.01)
    states: list[dict[str, Any]] = [{"fired": 2}, {"fired": object()}]

    def state() -> dict[str, Any]:
        return states.pop() if len(states) > 1 else states[0]

    with (
        _connect(database_url, "test") as connection,
        Heartbeat(_opener(database_url), schema="eventkit", role="timers", name="t", state=state),
    ):
        assert found(Insights(connection), "timers", lambda each: each.state).state == {"fired": 2}


def test_a_pace_counts_events_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look within the same second gives the same rate, so several readers may look."""
    clock = iter([100.0, 110.0, 110.2, 120.0])
    monkeypatch.setattr("eventkit.heartbeat.time.monotonic", lambda: next(clock))
    pace = Pace()

    assert [pace.of(50), pace.of(70), pace.of(70)] == [5.0, 5.0, 2.0]


def _connect(url: str, name: str) -> psycopg.Connection[Any]:
    return connect(url, name=name, autocommit=True, options=heartbeat.SESSION)


def _opener(url: str) -> Callable[[str], psycopg.Connection[Any]]:
    return lambda name: _connect(url, name)


def test_a_clean_end_is_noted_at_the_dead_processes_before_it(database_url: str) -> None:
    """Of the same work: a relay's, or that of a projector with the same projection; not at a live one's row."""

    def beating(role: str, name: str, *projections: str) -> Heartbeat:
        state: dict[str, Any] = {"projections": {key: {} for key in projections}} if projections else {}
        return Heartbeat(_opener(database_url), schema="eventkit", role=role, name=name, state=lambda: state)

    with psycopg.connect(database_url, autocommit=True) as connection:
        rows = Heartbeats(connection, "eventkit")
        dead = {}
        for role, projections in (("relay", ()), ("projector", ("a", "b")), ("projector", ("c",)), ("timers", ())):
            dead[role, projections] = beating(role, "".join(projections), *projections)
            rows.beat(dead[role, projections].process, age=60, state=dead[role, projections]._state())
        later = [beating("relay", ""), beating("projector", "b", "b")]
        for each in later:
            rows.beat(each.process, age=0, state=each._state())
            rows.end(each.process.id)
        found = {each.id: each.state.get("successor") for each in Insights(connection).processes().items}

    noted = {key for key, each in dead.items() if found.pop(str(each.process.id))}
    assert noted == {("relay", ()), ("projector", ("a", "b"))}
    assert found == {}
