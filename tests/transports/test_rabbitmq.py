"""RabbitMQ keeps the contract, on a real server; and the effects of its failures on a publisher and a group."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from eventkit.transports.rabbitmq import RabbitTransport, topology
from eventkit.transports.rabbitmq.subscription import RabbitSubscription
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer
from tests.transports.contract import Refuser, TransportContract, fresh, joined
from tests.transports.server_contract import ServerContract
from tests.transports.traffic import deliver, messages, read
from tests.waiting import wait_until

# AMQP's queue.declare, a name, and flags without passive, durable and exclusive.
TRANSIENT = re.compile(rb"\x00\x32\x00\x0a\x00\x00[\x00-\xff][^\x00-\x1f]*[\x00\x08\x10\x18]\x00\x00\x00")


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
