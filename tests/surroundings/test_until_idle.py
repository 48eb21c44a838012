"""`--until-idle` counts from when a member has its part of the group: joining may take longer than the limit."""

import uuid

import pytest

from eventkit.transports import open_transport
from tests.projection.run.test_joining import send
from tests.projection.run.test_running import MODELS, run
from tests.projection.shop import orders, rows
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.servers.redis import RedisServer

LIMIT = "0.3"  # seconds


@pytest.fixture
def topic() -> str:
    """A fresh one's name."""
    return f"shop.{uuid.uuid4().hex[:8]}"


def until_idle(url: str, transport_url: str, topic: str) -> tuple[int, list[tuple[str, int, int]]]:
    """Run the projector; return its exit code and the read model."""
    arguments = (f"{MODELS}:totals", "--topic", topic, "--group", topic, "--until-idle", LIMIT)
    done = run(url, *arguments, EVENTKIT_TRANSPORT_URL=transport_url)
    return done.returncode, rows(url)


def test_a_member_that_died_keeps_its_leases_for_a_while(url: str, redis: RedisServer, topic: str) -> None:
    """On Redis: the next one waits for them, then reads."""
    transport = open_transport(redis.url, {"session_timeout": "4"})
    transport.create_topics([topic], partitions=2)
    dead = transport.subscribe([topic], topic)
    dead.receive(1, 0.1)
    vars(dead)["_closed"].set()  # it renews nothing more, and does not leave
    send(redis.url, topic, orders("order-1", 5))

    assert until_idle(url, redis.url, topic) == (0, [("ann", 5, 5)])


def test_a_member_that_hangs_holds_a_group_up(url: str, kafka: KafkaServer | GivenKafka, topic: str) -> None:
    """On Kafka: the broker waits for it before it rebalances the group."""
    options = {"session.timeout.ms": "6000", "max.poll.interval.ms": "6000"}
    transport = open_transport(kafka.url, options)
    transport.create_topics([topic], partitions=2)
    hung = transport.subscribe([topic], topic)
    while not hung.ready:
        hung.receive(1, 0.1)
    send(kafka.url, topic, orders("order-1", 5))

    assert until_idle(url, kafka.url, topic) == (0, [("ann", 5, 5)])
    hung.close()


def test_without_a_real_limit_the_whole_backlog_is_applied(
    url: str, redis: RedisServer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--until-idle 0` looks once, everywhere."""
    monkeypatch.setattr("tests.surroundings.test_until_idle.LIMIT", "0")
    open_transport(redis.url).create_topics([topic], partitions=2)
    send(redis.url, topic, orders("order-1", 5))

    assert until_idle(url, redis.url, topic) == (0, [("ann", 5, 5)])
