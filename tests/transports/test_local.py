"""The in-process transport keeps the contract, and does the faults that a test asks for."""

import uuid

import pytest

from eventkit.errors import ConfigurationError
from eventkit.transports import Flag, open_transport
from eventkit.transports.local import LocalTransport
from tests.transports.contract import TOO_LARGE, Refuser, TransportContract, fresh
from tests.transports.traffic import deliver, messages


@pytest.fixture
def transport() -> LocalTransport:
    """A broker of its own."""
    return LocalTransport(uuid.uuid4().hex)


@pytest.fixture
def refuser(transport: LocalTransport) -> Refuser:
    """A topic that refuses large messages."""

    def make() -> str:
        transport.refuse(lambda message: "too large" if len(message.value) >= TOO_LARGE else None)
        return transport.create_topics([fresh("small")], partitions=6)[0]

    return make


class TestLocal(TransportContract):
    """`local://name`."""


def test_a_flag_shows_that_nothing_leaves_the_process(transport: LocalTransport) -> None:
    """A caller that needs a second process can tell from the flag."""
    assert Flag.ONE_PROCESS in transport.flags


def test_transports_of_one_name_share_their_broker() -> None:
    """A service and its projector find each other by the name."""
    name = uuid.uuid4().hex
    one, other = open_transport(f"local://{name}"), open_transport(f"local://{name}")

    assert one.create_topics(["shop.order"], partitions=2) == ["shop.order"]
    assert other.create_topics(["shop.order"], partitions=2) == []


def test_faults_come_and_go_on_request(transport: LocalTransport) -> None:
    """A topic can be held, everything can be lost, and both can be healed."""
    transport.create_topics(["shop.order"], partitions=2)
    transport.hold("shop.order", "forbidden")
    assert deliver(transport.publisher(), messages("shop.order", 1)).held == {"shop.order": "forbidden"}

    transport.heal()
    transport.lose("gone")
    assert deliver(transport.publisher(), messages("shop.order", 1)).lost == "gone"

    transport.heal()
    assert deliver(transport.publisher(), messages("shop.order", 1)).confirmed == [0]


@pytest.mark.parametrize("url", ["local://", "local://name/path", "smtp://x", "nonsense"])
def test_a_url_that_names_nothing_is_refused(url: str) -> None:
    """A wrong transport URL is a configuration error."""
    with pytest.raises(ConfigurationError):
        open_transport(url)
