"""RabbitMQ keeps the contract, on a real server; and what only a server can do to a publisher and a group."""

from collections.abc import Iterator

import pytest

from eventkit.transports.rabbitmq import RabbitTransport, topology
from tests.servers.rabbitmq import RabbitServer
from tests.transports.contract import Refuser, TransportContract, fresh, joined
from tests.transports.server_contract import ServerContract
from tests.transports.traffic import deliver, messages, read


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
    """A server of this module's own, to kill; whoever breaks it mends it."""
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
    def test_a_listener_hears_more_than_its_prefetch(self, rabbitmq: RabbitServer, unread: str, prefetch: str) -> None:
        """Whatever it takes at a time: the broker goes on before all that it has sent is acknowledged."""
        transport = RabbitTransport(rabbitmq.url, {"prefetch": prefetch})
        listener, publisher = transport.listen([unread]), transport.publisher(to_listeners=True)
        deliver(publisher, messages(unread, 50))

        assert len(read(listener, 50, limit=3)) == 50
        publisher.close(5)
        listener.close()
