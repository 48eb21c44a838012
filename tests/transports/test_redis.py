"""Redis Streams keep the contract, on a real Redis; and the effects of its failures, or of a dead owner, on them."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from eventkit.errors import ConfigurationError, TopicUnusable, TransportUnavailable
from eventkit.transports import open_transport
from eventkit.transports.partition import partition_of
from eventkit.transports.redis import RedisTransport, trimming
from eventkit.transports.redis.address import RedisAddress
from eventkit.transports.redis.subscription import MOST
from eventkit.transports.redis.topics import stream_key
from eventkit.transports.redis.trimming import Trimming
from tests.servers.redis import RedisServer
from tests.transports.contract import Refuser, TransportContract, fresh
from tests.transports.server_contract import ServerContract
from tests.transports.traffic import deliver, in_order, messages, number, read, read_until
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


@pytest.fixture
def server(redis: RedisServer) -> RedisServer:
    """The session's Redis."""
    return redis


@pytest.fixture(scope="module")
def own_server() -> Iterator[RedisServer]:
    """A Redis of this module's own, to kill and to configure wrongly; the test that breaks it repairs it."""
    server = RedisServer().start()
    yield server
    server.stop()


class TestRedis(TransportContract, ServerContract):
    """`redis://host:port`."""

    too_large = 1_100_000
    largest_answer = MOST * 900_000
    killed = ("session_timeout=1",)


@pytest.fixture
def topic(transport: RedisTransport) -> str:
    """A topic of four shards."""
    return transport.create_topics([fresh("topic")], partitions=4)[0]


def test_a_member_that_was_away_takes_nothing_from_its_successor(transport: RedisTransport, topic: str) -> None:
    """A lease that ran out and came back is another epoch: entries read in between are read again, from their start."""
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


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"appendonly": "no"}, "append-only file"),
        ({"appendfsync": "everysec"}, "last second"),
        ({"maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"}, "drops whole streams"),
    ],
)
def test_settings_that_lose_messages_are_refused(settings: dict[str, str], reason: str) -> None:
    """A server that would lose confirmed messages is refused, with the reason."""
    server = RedisServer(**settings).start()
    try:
        with pytest.raises(ConfigurationError, match=reason):
            RedisTransport(server.url, {}).check()
    finally:
        server.stop()


def test_a_lost_second_can_be_accepted(own_server: RedisServer) -> None:
    """`appendfsync=everysec` is accepted if it is requested."""
    own_server.client().config_set("appendfsync", "everysec")
    try:
        assert RedisTransport(f"{own_server.url}?appendfsync=everysec", {}).check()
    finally:
        own_server.client().config_set("appendfsync", "always")


def test_trimming_keeps_messages_that_a_group_has_not_acknowledged(transport: RedisTransport, topic: str) -> None:
    """Only messages that every group has acknowledged, and that are older than the retention, are trimmed."""
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


def test_a_topic_that_only_listeners_read_is_trimmed_by_them(
    redis: RedisServer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages older than the retention are trimmed even where no group has ever been."""
    monkeypatch.setattr(trimming, "_TRIM_INTERVAL", 0)
    transport = RedisTransport(redis.url, {"retention": "0.000001"})
    deliver(transport.publisher(), messages(topic, 2_000, keys=1))
    stream = stream_key(topic, partition_of("order-0", 4))
    listener = transport.listen([topic])

    def left() -> int:
        assert listener.receive(1, 0) == []
        length: Any = transport._topics.client.xlen(stream)
        return int(length)

    wait_until(lambda: left() < 2_000, what="a second to pass")  # Redis counts whole ones
    deliver(transport.publisher(), messages(topic, 1, keys=1))
    assert len(read(listener, 1)) == 1
    listener.close()
    transport.close()


def test_a_stream_trimmed_by_others_below_a_groups_offset_is_reported(transport: RedisTransport, topic: str) -> None:
    """A group that lost messages to somebody's trimming gets an error when it subscribes."""
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


def _replica(client: Redis) -> Callable[[], Any]:
    client.replicaof("127.0.0.1", "1")
    return lambda: client.replicaof("NO", "ONE")


def _setting(name: str, value: str, mended: str) -> Callable[[Redis], Callable[[], Any]]:
    def set_it(client: Redis) -> Callable[[], Any]:
        client.config_set(name, value)
        return lambda: client.config_set(name, mended)

    return set_it


def _no_snapshot(client: Redis) -> Callable[[], Any]:
    told: Any = client.config_get("*")
    place = Path(told["dir"], told["dbfilename"])
    place.mkdir()  # so that a snapshot cannot take its name, as on a full disk
    client.config_set("save", "3600 1")
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")

    def mend() -> None:
        place.rmdir()
        client.config_set("save", "")
        client.bgsave()
        wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok")

    return mend


def _no_right(client: Redis) -> Callable[[], Any]:
    client.acl_setuser("default", enabled=True, categories=["-@write"])
    return lambda: client.acl_setuser("default", enabled=True, categories=["+@write"])


REFUSALS: dict[str, Callable[[Redis], Callable[[], Any]]] = {
    "READONLY": _replica,
    "NOREPLICAS": _setting("min-replicas-to-write", "1", "0"),
    "MISCONF": _no_snapshot,
    "NOPERM": _no_right,
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_server_that_refuses_writes_is_waited_for(own_server: RedisServer, refusal: str) -> None:
    """Members and publishers report it as unavailable, like one that is away, and continue afterwards."""
    transport, client = RedisTransport(own_server.url, {"session_timeout": "1"}), own_server.client()
    topic = transport.create_topics([fresh("refused")], partitions=2)[0]
    deliver(transport.publisher(), messages(topic, 10))
    subscription = transport.subscribe([topic], "group")
    received = read(subscription, 5, limit=5)

    mend = REFUSALS[refusal](client)
    try:
        with pytest.raises(TransportUnavailable, match="refuses"):
            wait_until(lambda: subscription.receive(5, 0.1) and False)
        with pytest.raises(TransportUnavailable, match="refuses"):
            transport.subscribe([topic], "another group")
        reports = deliver(transport.publisher(), messages(topic, 10, start=10))
        assert reports.lost or reports.held
    finally:
        mend()

    deliver(transport.publisher(), messages(topic, 10, start=10))
    received += read_until(subscription, lambda found: len({number(each) for each in [*received, *found]}) == 20)
    subscription.close()
    transport.close()


def test_a_full_server_is_drained_by_its_readers(own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers join, read and acknowledge where nothing can be written: messages read by all make room again."""
    monkeypatch.setattr(trimming, "_TRIM_INTERVAL", 0)
    transport, client = RedisTransport(own_server.url, {"retention": "0.000001"}), own_server.client()
    topic = transport.create_topics([fresh("full")], partitions=2)[0]
    used: Any = client.info("memory")["used_memory"]
    client.config_set("maxmemory", used + 2_000_000)
    try:
        publisher, sent = transport.publisher(), 0
        while not (reports := deliver(publisher, messages(topic, 20, start=sent, size=5_000))).lost:
            sent += 20
        sent += len(reports.confirmed)
        subscription = transport.subscribe([topic], "group")
        received = read(subscription, sent, limit=20)

        def goes_on() -> bool:
            received.extend(subscription.receive(20, 0.01))
            return not deliver(transport.publisher(), messages(topic, 20, start=sent, size=5_000)).lost

        assert "maxmemory" in (reports.lost or "")
        assert in_order(received)
        wait_until(goes_on, what="room")
        subscription.close()
    finally:
        client.config_set("maxmemory", 0)
        transport.close()


def test_a_batch_that_does_not_fit_goes_as_far_as_it_does(own_server: RedisServer) -> None:
    """The messages that fit are confirmed, in order, so that reading them makes room for the rest."""
    transport, client = RedisTransport(own_server.url, {}), own_server.client()
    topic = transport.create_topics([fresh("small")], partitions=1)[0]
    used: Any = client.info("memory")["used_memory"]
    client.config_set("maxmemory", used + 1_000_000)
    try:
        reports = deliver(transport.publisher(), messages(topic, 400, keys=1, size=5_000))
    finally:
        client.config_set("maxmemory", 0)

    assert "maxmemory" in (reports.lost or "")
    assert reports.confirmed
    assert reports.confirmed == list(range(len(reports.confirmed)))
    transport.close()


@pytest.mark.parametrize("url", ["redis://", "redis://host/path", "redis://host:port", "redis://h?retention=soon"])
def test_a_url_that_cannot_be_meant_is_refused(url: str) -> None:
    """A wrong URL is a configuration error."""
    with pytest.raises(ConfigurationError):
        open_transport(url)


def test_the_servers_name_is_checked_under_any_default_of_redis_py() -> None:
    """Release 5 does not; where certificates are not required, no name is."""
    checked = RedisAddress("rediss://u:p@h", {}).client().connection_pool.connection_kwargs
    unchecked = RedisAddress("rediss://u:p@h", {"ssl_cert_reqs": "none"}).client().connection_pool.connection_kwargs

    assert checked["ssl_check_hostname"] is True
    assert unchecked["ssl_check_hostname"] is False


@pytest.mark.parametrize("command", ["XADD", "XGONE"])
def test_an_error_of_redis_repeats_no_event(redis: RedisServer, command: str) -> None:
    """Its client puts the command before the server's words, and the server arguments that it does not know."""
    address = RedisAddress(redis.url, {})
    with closing(address.client()) as client:
        client.set("plain", 1)
        pipeline = client.pipeline(transaction=True)
        pipeline.execute_command(command, "plain", "*", "value", "hush-7f3a\n) of pipeline caused error: x")  # type: ignore[no-untyped-call]
        with pytest.raises(ResponseError) as refused:
            pipeline.execute()

    assert "hush" in str(refused.value)
    assert "hush" not in address.safe(refused.value)
    assert len(address.safe(refused.value)) > 20
