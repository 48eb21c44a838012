"""A projection that comes later to a broker that keeps no history takes it from the store, then follows its group."""

import uuid

import pytest

from eventkit.domain.message import Message
from eventkit.transports import open_transport
from tests.projection.shop import orders, rows, store
from tests.projection.test_running import MODELS, run
from tests.servers.rabbitmq import RabbitServer
from tests.transports.traffic import deliver


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
    """What was published before the group existed is applied, once, and what comes after it from the group."""
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
    """When the group's queues are gone, what was sent meanwhile comes from the store."""
    topic = f"shop.{uuid.uuid4().hex[:8]}"
    open_transport(rabbitmq.url).create_topics([topic], partitions=1)
    arguments = (f"{MODELS}:totals", "--topic", topic, "--group", topic, "--until-idle", "1")
    run(url, *arguments, EVENTKIT_TRANSPORT_URL=rabbitmq.url)
    with rabbitmq.connection() as connection:
        connection.channel().queue_delete(f"{topic}.0/{topic}")
    store(url, orders("order-1", 5))

    done = run(url, *arguments, EVENTKIT_TRANSPORT_URL=rabbitmq.url)

    assert (done.returncode, rows(url)) == (0, [("ann", 5, 5)]), done.stderr
