"""Two installations on one broker, each with processes of its own: neither takes or mixes the other's messages."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventkit.storage import migrate
from tests.cli.test_db import eventkit
from tests.servers.dumps import dump, restore
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.surroundings.processes import MODELS, TIMEOUT, Processes, command, counted, running, sent
from tests.surroundings.read_models import CATEGORY
from tests.surroundings.rig import category, execute, found, order


@pytest.fixture
def name(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A category of the test's own, which processes read."""
    made = category(redis.url)
    monkeypatch.setenv(CATEGORY, made)
    return made


@pytest.fixture
def processes(redis: RedisServer, tmp_path: Path) -> Iterator[Processes]:
    """Relays and projectors, of the category that was named before."""
    with running(redis.url, tmp_path) as started:
        yield started


def test_staging_beside_production(
    postgres: PostgresServer, url: str, empty_database_url: str, name: str, processes: Processes, tmp_path: Path
) -> None:
    """A copy's relay is refused, first as a copy, then on production's topic; both read models have all events."""
    staging_url = empty_database_url
    processes.relay(url)
    processes.projector(url)
    order(url, name, *range(10))
    counted(url, 10)
    sent(url)
    dump(postgres, url, tmp_path / "dump")
    restore(postgres, staging_url, tmp_path / "dump")
    order(url, name, *range(10, 15))
    counted(url, 15)

    refused = processes.relay(staging_url)
    refused.says("eventkit db adopt --clone", timeout=TIMEOUT)
    command(staging_url, "db", "adopt", "--clone")
    processes.projector(staging_url, "--store-url", url)
    order(staging_url, name, 50)  # of staging: it must not reach production
    held = processes.relay(staging_url)
    held.says("their streams would mix", timeout=TIMEOUT)
    order(url, name, *range(15, 25))

    counted(url, 25)
    counted(staging_url, 25)
    sent(url)
    assert found(staging_url, "select count(*) from eventkit.outbox") == [(1,)]
    groups = "select name from eventkit.groups where abandoned_at is null"
    assert not set(found(url, groups)) & set(found(staging_url, groups))
    doctor = eventkit("--transport-url", processes.broker, "doctor", url=staging_url)
    assert (doctor.returncode, "their streams would mix" in " ".join(doctor.stdout.split())) == (1, True), doctor.stdout


def test_two_schemas_in_one_database(
    url: str, redis: RedisServer, name: str, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two services, each with its tables, its topics and a read model of the same name: each has its own events."""
    migrate.upgrade(url, "second")
    execute(url, "create table seconds (like totals including all)")
    processes.relay(url)
    processes.projector(url)
    order(url, name, *range(10))
    counted(url, 10)
    other = category(redis.url)
    monkeypatch.setenv(CATEGORY, other)
    monkeypatch.setenv("EVENTKIT_SCHEMA", "second")
    processes.relay(url)
    processes.start(url, "projector", "run", f"{MODELS}:seconds")
    order(url, other, *range(7), schema="second")

    counted(url, 7, table="seconds")
    sent(url, schema="second")
    order(url, name, 10)
    counted(url, 11)
    (one,), (two,) = (found(url, f"select name from {schema}.groups") for schema in ("eventkit", "second"))
    assert one != two
