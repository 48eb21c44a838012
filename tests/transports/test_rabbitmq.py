"""RabbitMQ keeps the contract, on a real server; and the effects of its failures on a publisher and a group."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from pika.heartbeat import HeartbeatChecker

from eventkit.domain.message import Message
from eventkit.transports.buffer import CAPACITY, Buffer
from eventkit.transports.rabbitmq import RabbitTransport, topology
from eventkit.transports.rabbitmq.subscription import RabbitSubscription
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer
from tests.transports.contract import Refuser, TransportContract, fresh, joined
from tests.transports.server_contract import ServerContract
from tests.transports.traffic import deliver, first_in_order, growing, in_order, messages, number, read, read_until
from tests.waiting import wait_until

# AMQP's queue.declare, a name, and flags without passive, durable and exclusive.
TRANSIENT = re.compile(rb"\x00\x32\x00\x0a\x00\x00[\x00-\xff][^\x00-\x1f]*[\x00\x08\x10\x18]\x00\x00\x00")
SMALL, LARGE = 100, 60  # messages


@pytest.fixture
def transport(rabbitmq: RabbitServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[RabbitTransport]:
    """A transport to the session's RabbitMQ, which nobody kills."""
    monkeypatch.setattr(topology, "NOTED", 0)
    transport = RabbitTransport(rabbitmq.url, {})
    yield transport
    transport.close()


@pytest.fixture
def server(rabbitmq: RabbitServer) -> RabbitServer:
    """The session's server."""
    return rabbitmq


@pytest.fixture(scope="module")
def own_server() -> Iterator[RabbitServer]:
    """A server of this module's own, to kill; the test that breaks it repairs it."""
    server = RabbitServer().start()
    yield server
    server.stop()


class TestRabbitMQ(TransportContract, ServerContract):
    """`rabbitmq://host:port`."""

    too_large = 1_100_000
    many = 30_000

    @pytest.fixture
    def refuser(self, transport: RabbitTransport, group: str) -> Refuser:
        """Any topic: the server takes messages of a mebibyte at most."""

        def make() -> str:
            name = transport.create_topics([fresh("small")], partitions=6)[0]
            joined(transport, name, group)
            return name

        return make

    @pytest.mark.parametrize("prefetch", ["1", "10"])
    def test_a_listener_receives_more_than_its_prefetch(
        self, rabbitmq: RabbitServer, unread: str, prefetch: str
    ) -> None:
        """At any prefetch: the broker sends more before all of its messages are acknowledged."""
        transport = RabbitTransport(rabbitmq.url, {"prefetch": prefetch})
        listener, publisher = transport.listen([unread]), transport.publisher(to_listeners=True)
        deliver(publisher, messages(unread, 50))

        assert len(read(listener, 50, limit=3)) == 50
        publisher.close(5)
        listener.close()


@pytest.fixture
def sent(transport: RabbitTransport) -> Iterator[tuple[str, str]]:
    """A topic and a group that has 60 messages of 0.88 MB to read, after a hundred small ones."""
    topic = transport.create_topics([fresh("large")], partitions=3)[0]
    group, publisher = joined(transport, topic, fresh("group")), transport.publisher()
    deliver(publisher, growing(topic, small=SMALL, large=LARGE, size=880_000)[:-SMALL])
    yield topic, group
    publisher.close(5)


class Measured(Buffer):
    """Knows the most bytes that it has held."""

    most = 0

    def add(self, message: Message) -> None:
        super().add(message)
        self.most = max(self.most, self.size)


def test_a_member_with_a_full_buffer_stops_reading_and_stays(
    rabbitmq: RabbitServer, sent: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds 16 MB at most, at any prefetch; both sides find the connection alive, and all arrives in order."""
    checks: list[HeartbeatChecker] = []
    start_check = HeartbeatChecker._start_check_timer

    def start(checker: HeartbeatChecker) -> None:
        checks.append(checker)
        start_check(checker)

    monkeypatch.setattr(HeartbeatChecker, "_check_interval", property(lambda _: 1.5, lambda *_: None), raising=False)
    monkeypatch.setattr(HeartbeatChecker, "_start_check_timer", start)
    monkeypatch.setattr("eventkit.transports.rabbitmq.subscription.Buffer", Measured)
    subscription = RabbitTransport(rabbitmq.url, {"heartbeat": "1"}).subscribe([sent[0]], sent[1])
    wait_until(lambda: subscription._arrived.is_full, what="a full buffer")

    before = len(checks)
    wait_until(lambda: len(checks) > before + 3 or subscription._end, what="three checks of the connection")
    received = read(subscription, SMALL + LARGE, limit=1)

    assert isinstance(subscription._arrived, Measured)
    assert subscription._arrived.most < CAPACITY + 2_000_000
    assert in_order(received)
    assert sorted(map(number, received)) == list(range(SMALL + LARGE))
    subscription.close()


def test_a_member_with_a_full_buffer_gives_up_shards_and_leaves(
    transport: RabbitTransport, sent: tuple[str, str]
) -> None:
    """The broker's answers come behind its messages, for which it reads on; no message passes an earlier one."""
    topic, group = sent
    first = transport.subscribe([topic], group)
    wait_until(lambda: first._arrived.is_full, what="a full buffer")
    second = transport.subscribe([topic], group)
    kept: list[Message] = []

    def share() -> list[Message]:
        found = first.receive(1, 0.05)
        first.acknowledge(found)
        kept.extend(found)
        return second.receive(500, 0.05)

    shared = wait_until(share, what="a shard that was released")
    first.close()
    missing = set(range(SMALL + LARGE)) - set(map(number, kept + shared))
    shared += read_until(second, lambda found: missing <= set(map(number, found)))

    assert first_in_order(shared)
    second.close()


def test_no_queue_is_neither_durable_nor_exclusive(rabbitmq: RabbitServer, transport: RabbitTransport) -> None:
    """Newer releases deny such queues, and close the connection of a client that declares one."""
    with Proxy(urlsplit(rabbitmq.url).port or 0) as proxy:
        proxied = RabbitTransport(f"rabbitmq://127.0.0.1:{proxy.port}", {})
        topic = transport.create_topics([fresh("topic")], partitions=2)[0]
        proxy.lose(TRANSIENT)

        listener, members = proxied.listen([topic]), [proxied.subscribe([topic], "group") for _ in range(2)]
        publisher = transport.publisher()

        def both_have_some() -> bool:
            deliver(publisher, messages(topic, 20, keys=20))
            return sum(map(_received, members)) == len(members)

        wait_until(both_have_some, what="each member to have its part: they count each other")
        read(listener, 20)
        listener.close()
        for member in members:
            member.close()
    assert not proxy.lost.is_set()


def _received(member: RabbitSubscription) -> bool:
    batch = member.receive(100, 0.1)
    member.acknowledge(batch)
    return bool(batch)
