"""ActiveMQ keeps the contract, on a real server; and the effects of its failures on a publisher and a group."""

from collections.abc import Iterator

import pytest

from eventkit.transports.activemq import ActiveTransport
from tests.servers.activemq import ActiveServer
from tests.transports.contract import Refuser, TransportContract, fresh, joined
from tests.transports.server_contract import ServerContract
from tests.transports.traffic import deliver, messages, read


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
    """A server of this module's own, to kill; the test that breaks it repairs it."""
    server = ActiveServer().start()
    yield server
    server.stop()


class TestActiveMQ(TransportContract, ServerContract):
    """`activemq://host:port`."""

    forgets = False
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


def test_a_busy_broker_is_sent_a_few_acknowledgements_at_a_time(
    own_server: ActiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands would fill the buffer of its socket while it sends, and both ends would wait for each other."""
    monkeypatch.setattr("eventkit.transports.activemq.acknowledgements._MAX_IN_FLIGHT", 50)
    transport = ActiveTransport(own_server.url, {})
    topic = transport.create_topics([fresh("topic")], partitions=2)[0]
    group, publisher = joined(transport, topic, fresh("group")), transport.publisher()
    deliver(publisher, messages(topic, 200))
    subscription = transport.subscribe([topic], group)
    received = read(subscription, 200, acknowledge=False)

    own_server.pause()
    for each in received:
        subscription.acknowledge([each])
    subscription.receive(1, 0.1)
    waiting = len(subscription._acknowledging._waiting)
    own_server.resume()
    subscription.close()

    assert waiting == 150
    assert transport.subscribe([topic], group).receive(1, 1.0) == []
