"""ActiveMQ keeps the contract, on a real server; and what only a server can do to a publisher and a group."""

from collections.abc import Iterator

import pytest

from eventkit.transports.activemq import ActiveTransport
from tests.servers.activemq import ActiveServer
from tests.transports.contract import Refuser, TransportContract, fresh, joined
from tests.transports.server_contract import ServerContract


@pytest.fixture
def transport(activemq: ActiveServer) -> Iterator[ActiveTransport]:
    """A transport to the session's ActiveMQ."""
    transport = ActiveTransport(activemq.url, {})
    yield transport
    transport.close()


@pytest.fixture
def server(activemq: ActiveServer) -> ActiveServer:
    """The session's server."""
    return activemq


@pytest.fixture(scope="module")
def own_server() -> Iterator[ActiveServer]:
    """A server of this module's own, to kill; whoever breaks it mends it."""
    server = ActiveServer().start()
    yield server
    server.stop()


class TestActiveMQ(TransportContract, ServerContract):
    """`activemq://host:port`."""

    too_large = 1_100_000
    many = 30_000

    @pytest.fixture
    def refuser(self, transport: ActiveTransport, group: str) -> Refuser:
        """Any topic: the server takes messages of a mebibyte at most."""

        def make() -> str:
            name = transport.create_topics([fresh("small")], partitions=6)[0]
            joined(transport, name, group)
            return name

        return make
