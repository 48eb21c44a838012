"""Real dumps, restored by PostgreSQL's own programs: every read model ends exact, and the operator is warned."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from eventkit import EventStore
from eventkit.errors import StoreRestored
from tests.projection.shop import shop
from tests.servers.dumps import dump, restore
from tests.servers.postgres import PostgresServer
from tests.surroundings.processes import MODELS, TIMEOUT, Processes, command, counted, running, sent
from tests.surroundings.read_models import CATEGORY
from tests.surroundings.rig import category, found, order
from tests.waiting import wait_until

FORKS = "select stream from eventkit.dead_letters where cause = 'fork'"


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> str:
    """The broker of a test's parameter, redis unless it has one."""
    return str(request.getfixturevalue(getattr(request, "param", "redis")).url)


@pytest.fixture
def name(broker: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A category of the test's own, which processes read."""
    made = category(broker)
    monkeypatch.setenv(CATEGORY, made)
    return made


@pytest.fixture
def processes(broker: str, tmp_path: Path) -> Iterator[Processes]:
    """Relays and projectors, of the category that was named before."""
    with running(broker, tmp_path) as started:
        yield started


@pytest.mark.parametrize("broker", ["redis", "kafka", "rabbitmq"], indirect=True)
def test_read_models_restored_under_a_running_projector_catch_up(
    postgres: PostgresServer, url: str, other_url: str, name: str, processes: Processes, tmp_path: Path
) -> None:
    """The projector has read further than the restored tables say: it begins again at their place, by itself."""
    processes.relay(url)
    projector = processes.projector(other_url, "--store-url", url)
    order(url, name, *range(10))
    counted(other_url, 10)
    dump(postgres, other_url, tmp_path / "dump")
    order(url, name, *range(10, 25))
    counted(other_url, 25)

    restore(postgres, other_url, tmp_path / "dump", clean=True)

    begun = "made anew while 'totals' was running", "deadlock detected"  # with the restore, which also ends its work
    wait_until(lambda: any(words in projector.log() for words in begun), timeout=TIMEOUT, what="a new beginning")
    counted(other_url, 25)
    order(url, name, *range(25, 30))
    counted(other_url, 30)


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)  # the others are in `test_places`
def test_read_models_restored_between_two_projectors_catch_up(
    postgres: PostgresServer, url: str, other_url: str, name: str, processes: Processes, tmp_path: Path
) -> None:
    """The group at the broker is ahead of the tables; handlers, whose effects are in the dump, do the rest again."""
    processes.relay(url)
    first = [processes.projector(other_url, "--store-url", url, name=each) for each in ("totals", "acting")]
    order(url, name, *range(10))
    counted(other_url, 20)
    dump(postgres, other_url, tmp_path / "dump")
    order(url, name, *range(10, 25))
    counted(other_url, 50)
    for process in first:
        process.terminate()

    restore(postgres, other_url, tmp_path / "dump", clean=True)
    counted(other_url, 20)
    for each in ("totals", "acting"):
        processes.projector(other_url, "--store-url", url, name=each)

    counted(other_url, 50)


def test_a_store_restored_under_its_relay_sends_every_event_that_it_has(
    postgres: PostgresServer, url: str, name: str, processes: Processes, tmp_path: Path
) -> None:
    """Positions and versions are given out again: events of both lives are distinct, and a rebuild makes it exact."""
    relay = processes.relay(url)
    processes.projector(url)
    order(url, name, *range(10))
    counted(url, 10)
    sent(url)
    dump(postgres, url, tmp_path / "dump")
    order(url, name, *range(10, 25))
    counted(url, 25)
    sent(url)

    restore(postgres, url, tmp_path / "dump", clean=True)
    order(url, name, 12, *range(30, 34))
    sent(url)

    relay.says("epoch 2", timeout=TIMEOUT)  # it has begun again
    counted(url, 25 + 4)  # the broker has events that the store lost
    wait_until(lambda: found(url, FORKS) == [(f"{name}-12",)], timeout=TIMEOUT, what="the fork")
    assert f"{name}-12" in command(url, "projection", "verify", "totals", code=1)
    command(url, "projection", "rebuild", f"{MODELS}:totals", "--accept-lost")
    counted(url, 10 + 5)
    order(url, name, 40)
    counted(url, 16)
    command(url, "projection", "verify", "totals")


def test_a_store_restored_into_a_new_database_continues_when_it_is_adopted(
    postgres: PostgresServer, url: str, empty_database_url: str, name: str, processes: Processes, tmp_path: Path
) -> None:
    """Who acts waits for `db adopt`; the read model draws a group of its own, and reads all that the topic has."""
    empty_url = empty_database_url
    first = processes.relay(url), processes.projector(url), processes.projector(url, name="acting")
    order(url, name, *range(10))
    counted(url, 20)
    sent(url)
    for process in first:
        process.terminate()
    order(url, name, *range(10, 13))
    dump(postgres, url, tmp_path / "dump")
    database = make_url(url).database
    with psycopg.connect(postgres.url, autocommit=True) as session:
        session.execute(f"alter database {database} rename to {database}_lost".encode())
    try:
        restore(postgres, empty_url, tmp_path / "dump")

        for refused in (processes.relay(empty_url), processes.projector(empty_url, name="acting")):
            refused.says("eventkit db adopt --moved", timeout=TIMEOUT)
            refused.kill()
        command(empty_url, "db", "adopt", "--moved")
        processes.relay(empty_url)
        for each in ("totals", "acting"):
            processes.projector(empty_url, name=each)
        order(empty_url, name, *range(13, 20))

        counted(empty_url, 40)
        sent(empty_url)
    finally:
        with psycopg.connect(postgres.url, autocommit=True) as session:
            session.execute(f"alter database {database}_lost rename to {database}".encode())


def test_a_restored_store_is_read_again_where_no_broker_is(
    postgres: PostgresServer, url: str, other_url: str, processes: Processes, tmp_path: Path
) -> None:
    """Read models elsewhere have read further than the store goes; new events have positions that they had passed."""
    projector = processes.projector(other_url, "--from", "store", "--store-url", url)
    order(url, "order", *range(10))
    counted(other_url, 10)
    dump(postgres, url, tmp_path / "dump")
    order(url, "order", *range(10, 25))
    counted(other_url, 25)

    restore(postgres, url, tmp_path / "dump", clean=True)
    order(url, "order", *range(30, 34))

    counted(other_url, 25 + 4)
    projector.says("All of it is read again", timeout=TIMEOUT)
    order(url, "order", 40)
    counted(other_url, 30)


def test_a_subscription_to_a_restored_store_ends_with_a_sentence(
    postgres: PostgresServer, url: str, tmp_path: Path
) -> None:
    """Its place is above events that it has never seen; it does not wait for the positions to come by again."""
    order(url, "order", *range(10))
    dump(postgres, url, tmp_path / "dump")
    order(url, "order", *range(10, 25))
    with EventStore(shop).subscribe(url, after=0) as subscription:
        seen = [next(subscription).position for _ in range(25)]
        restore(postgres, url, tmp_path / "dump", clean=True)

        with pytest.raises(StoreRestored, match="at position 25, and the store has drawn 10"):
            next(subscription)
    with pytest.raises(StoreRestored):
        EventStore(shop).subscribe(url, after=25)
    assert seen == list(range(1, 26))
