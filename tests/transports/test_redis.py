"""Redis Streams keep the contract, on a real Redis; and what only a server, or a dead owner, can do to them."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from eventkit.errors import ConfigurationError, TopicUnusable, TransportUnavailable
from eventkit.transports import open_transport
from eventkit.transports.partition import partition_of
from eventkit.transports.redis import RedisTransport
from eventkit.transports.redis.topics import stream_key
from eventkit.transports.redis.trimming import Trimming
from tests.servers.redis import RedisServer
from tests.transports.contract import Refuser, TransportContract, fresh
from tests.transports.traffic import deliver, in_order, messages, number, read
from tests.waiting import wait_until


@pytest.fixture
def transport(redis: RedisServer) -> Iterator[RedisTransport]:
    """A transport to the session's Redis."""
    transport = RedisTransport(redis.url, {"session_timeout": "2"})
    yield transport
    transport.close()


@pytest.fixture
def refuser(transport: RedisTransport) -> Refuser:
    """Any topic: the server takes values of a mebibyte at most."""
    return lambda: transport.create_topics([fresh("small")], partitions=6)[0]


class TestRedis(TransportContract):
    """`redis://host:port`."""

    too_large = 1_100_000


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    """A Redis of this module's own, to kill and to set wrongly; whoever breaks it mends it."""
    server = RedisServer().start()
    yield server
    server.stop()


@pytest.fixture
def topic(transport: RedisTransport) -> str:
    """A topic of four shards."""
    return transport.create_topics([fresh("topic")], partitions=4)[0]


def test_the_shards_of_a_killed_member_go_on_in_order(
    transport: RedisTransport, redis: RedisServer, topic: str
) -> None:
    """What a member held when it was killed with -9 comes again, to another, before what is new."""
    publisher = transport.publisher()
    deliver(publisher, messages(topic, 400, keys=20))
    command = [sys.executable, "-m", "tests.transports.member", redis.url, topic, "group", "session_timeout=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as member:
        assert member.stdout
        wait_until(lambda: int(member.stdout.readline() or 0) >= 400)  # type: ignore[union-attr]
        member.kill()
    deliver(publisher, messages(topic, 100, keys=20, start=400))

    subscription = transport.subscribe([topic], "group")
    received = read(subscription, 500)

    assert sorted(map(number, received)) == list(range(500))
    assert in_order(received)
    subscription.close()


def test_a_member_that_was_away_takes_nothing_from_its_successor(transport: RedisTransport, topic: str) -> None:
    """A lease that ran out and came back is another epoch: what was read in between is read again, from its start."""
    publisher, away = transport.publisher(), transport.subscribe([topic], "group")
    deliver(publisher, messages(topic, 40, keys=4))
    read(away, 40, acknowledge=False)
    away._ownership.leave()  # as its leases run out while it is stopped
    successor = transport.subscribe([topic], "group")
    again = read(successor, 40, acknowledge=False)
    successor.close()
    deliver(publisher, messages(topic, 40, keys=4, start=40))

    received = read(away, 80)

    assert sorted(map(number, again)) == list(range(40))
    assert sorted(map(number, received)) == list(range(80))
    assert in_order(received)
    away.close()


def test_a_server_killed_and_restarted_loses_nothing_confirmed(own_redis: RedisServer) -> None:
    """What was confirmed survives kill -9, and a subscription goes on when the server is back."""
    transport = RedisTransport(own_redis.url, {})
    name = transport.create_topics([fresh("durable")], partitions=2)[0]
    publisher, subscription = transport.publisher(), transport.subscribe([name], "group")
    confirmed = deliver(publisher, messages(name, 2_000)).confirmed

    own_redis.kill()
    assert deliver(publisher, messages(name, 10, start=2_000)).lost
    with pytest.raises(TransportUnavailable, match="no answer"):
        subscription.receive(10, 1)
    own_redis.start()

    received = read(subscription, 2_000)
    assert sorted(map(number, received)) == confirmed
    assert in_order(received)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"appendonly": "no"}, "append-only file"),
        ({"appendfsync": "everysec"}, "last second"),
        ({"maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"}, "drops whole streams"),
    ],
)
def test_settings_that_lose_messages_are_refused(settings: dict[str, str], reason: str) -> None:
    """A server that would lose what it confirms is refused, with the reason."""
    server = RedisServer(**settings).start()
    try:
        with pytest.raises(ConfigurationError, match=reason):
            RedisTransport(server.url, {}).check()
    finally:
        server.stop()


def test_a_lost_second_can_be_accepted(own_redis: RedisServer) -> None:
    """`appendfsync=everysec` is taken from whoever asks for it."""
    own_redis.client().config_set("appendfsync", "everysec")
    try:
        assert RedisTransport(f"{own_redis.url}?appendfsync=everysec", {}).check()
    finally:
        own_redis.client().config_set("appendfsync", "always")


def test_trimming_keeps_what_a_group_has_not_acknowledged(transport: RedisTransport, topic: str) -> None:
    """Only what every group has acknowledged, and the retention lets go, is trimmed."""
    publisher = transport.publisher()
    deliver(publisher, messages(topic, 400, keys=1))
    fast, slow = transport.subscribe([topic], "fast"), transport.subscribe([topic], "slow")
    read(fast, 400)
    half = read(slow, 200, limit=100)
    stream = stream_key(topic, partition_of("order-0", 4))

    Trimming(transport._topics.client, retention=0.000001).trim(stream)

    assert sorted(map(number, [*half, *read(slow, 200)])) == list(range(400))
    fast.close()
    slow.close()


def test_a_stream_trimmed_by_others_below_what_a_group_has_read_is_told(transport: RedisTransport, topic: str) -> None:
    """A group that lost messages to somebody's trimming hears of it when it subscribes."""
    publisher = transport.publisher()
    deliver(publisher, messages(topic, 100, keys=1))
    reader = transport.subscribe([topic], "group")
    read(reader, 10, limit=10)
    reader.close()
    transport._topics.client.xtrim(stream_key(topic, partition_of("order-0", 4)), maxlen=10, approximate=False)

    with pytest.raises(TopicUnusable, match="trimmed beyond"):
        transport.subscribe([topic], "group")


def test_a_topic_deleted_under_a_publisher_is_held(transport: RedisTransport, topic: str) -> None:
    """Nothing is written where no group would find it."""
    publisher = transport.publisher()
    deliver(publisher, messages(topic, 10, keys=1))
    transport._topics.client.delete(stream_key(topic, partition_of("order-0", 4)))

    reports = deliver(publisher, messages(topic, 10, keys=1))

    assert reports.held.keys() == {topic}
    assert reports.confirmed == []


def test_a_password_is_in_no_error() -> None:
    """A refused password, or a wrong address with one, does not show it."""
    transport = open_transport("redis://:s3cr3t-w0rd@127.0.0.1:1/0")

    with pytest.raises(TransportUnavailable) as caught:
        transport.check()

    assert "s3cr3t" not in str(caught.value)
    assert "s3cr3t" not in repr(transport.__dict__)


@pytest.mark.parametrize("url", ["redis://", "redis://host/path", "redis://host:port", "redis://h?retention=soon"])
def test_a_url_that_cannot_be_meant_is_refused(url: str) -> None:
    """A wrong URL is a configuration error."""
    with pytest.raises(ConfigurationError):
        open_transport(url)
