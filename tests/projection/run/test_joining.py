"""A projection that comes later to a broker that keeps no history takes it from the store, then follows its group."""

import threading
import uuid

import pytest

from eventkit.config import Settings
from eventkit.domain.message import Message
from eventkit.projection.run import SourceOptions, runner
from eventkit.transports import open_transport
from eventkit.worker import Stop
from tests.projection.run.test_running import MODELS, run
from tests.projection.shop import orders, rows, store
from tests.servers.rabbitmq import RabbitServer
from tests.surroundings.rig import category, execute, order, totals
from tests.transports.traffic import deliver
from tests.waiting import wait_until

KEPT = {"totals": "totals", "checkpoints": "eventkit.checkpoints"}  # the restored tables


@pytest.fixture(params=["rabbitmq", "activemq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """A broker that keeps nothing for a group that comes later."""
    return str(request.getfixturevalue(request.param).url)


def send(url: str, topic: str, events: list[Message]) -> None:
    """Publish events, as the relay does."""
    publisher = open_transport(url).publisher()
    sent = [Message(topic, each.key, each.value, each.headers, tag) for tag, each in enumerate(events)]
    assert len(deliver(publisher, sent).confirmed) == len(events)
    publisher.close(5)


def test_a_projection_that_comes_later_takes_its_history_from_the_store(url: str, broker_url: str) -> None:
    """Earlier events than the group come from the store, once, and later ones from the group."""
    topic = f"shop.{uuid.uuid4().hex[:8]}"
    open_transport(broker_url).create_topics([topic], partitions=2)
    arguments = (f"{MODELS}:totals", "--topic", topic, "--until-idle", "2")
    store(url, orders("order-1", 50))  # and sent to those who were there

    first = run(url, *arguments, EVENTKIT_TRANSPORT_URL=broker_url)
    assert (first.returncode, rows(url)) == (0, [("ann", 50, 50)]), first.stderr

    store(url, orders("order-2", 10))
    send(broker_url, topic, [*orders("order-1", 2, first=50), *orders("order-2", 10)])
    second = run(url, *arguments, EVENTKIT_TRANSPORT_URL=broker_url)

    assert (second.returncode, rows(url)) == (0, [("ann", 61, 61)]), second.stderr
    assert "takes its history" in first.stderr
    assert "takes its history" not in second.stderr


def test_a_group_that_lost_its_place_takes_its_history_again(url: str, rabbitmq: RabbitServer) -> None:
    """When the group's queues are gone, events sent meanwhile come from the store."""
    topic = f"shop.{uuid.uuid4().hex[:8]}"
    open_transport(rabbitmq.url).create_topics([topic], partitions=1)
    arguments = (f"{MODELS}:totals", "--topic", topic, "--group", topic, "--until-idle", "1")
    run(url, *arguments, EVENTKIT_TRANSPORT_URL=rabbitmq.url)
    with rabbitmq.connection() as connection:
        connection.channel().queue_delete(f"{topic}.0/{topic}")
    store(url, orders("order-1", 5))

    done = run(url, *arguments, EVENTKIT_TRANSPORT_URL=rabbitmq.url)

    assert (done.returncode, rows(url)) == (0, [("ann", 5, 5)]), done.stderr


def test_a_restored_database_takes_later_events_from_the_store(url: str, rabbitmq: RabbitServer) -> None:
    """The broker has delivered them already: each start reads the store from the saved position on."""
    topic = f"shop.{uuid.uuid4().hex[:8]}"
    open_transport(rabbitmq.url).create_topics([topic], partitions=1)
    arguments = (f"{MODELS}:totals", "--topic", topic, "--until-idle", "1")
    store(url, orders("order-1", 5))
    run(url, *arguments, EVENTKIT_TRANSPORT_URL=rabbitmq.url)
    execute(url, *(f"create table kept_{name} as table {place}" for name, place in KEPT.items()))
    store(url, orders("order-1", 5, first=6))
    send(rabbitmq.url, topic, orders("order-1", 5, first=6))
    run(url, *arguments, EVENTKIT_TRANSPORT_URL=rabbitmq.url)
    assert rows(url) == [("ann", 10, 10)]

    for name, place in KEPT.items():
        execute(url, f"truncate {place}", f"insert into {place} table kept_{name}")
    execute(url, "update eventkit.projections set position = 5")
    done = run(url, *arguments, EVENTKIT_TRANSPORT_URL=rabbitmq.url)

    assert (done.returncode, rows(url)) == (0, [("ann", 10, 10)]), done.stderr


def test_each_hour_events_that_the_group_may_have_missed_are_taken_from_the_store(
    url: str, rabbitmq: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing was lost that a projector could notice."""
    monkeypatch.setattr(runner, "BACKFILL_INTERVAL", 0.5)
    name = category(rabbitmq.url)
    order(url, name, 1)  # and never relayed
    stop = Stop()
    settings = Settings(database_url=url, transport_url=rabbitmq.url)
    worker = threading.Thread(
        target=runner.ProjectionRunner(totals(name), settings, SourceOptions()).work, args=(stop,)
    )
    worker.start()
    wait_until(lambda: rows(url) == [("ann", 1, 1)], timeout=60)

    order(url, name, 2)

    wait_until(lambda: rows(url) == [("ann", 2, 2)], timeout=60)
    stop.set()
    worker.join(60)
