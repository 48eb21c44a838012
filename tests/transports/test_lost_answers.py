"""Any answer of a broker may be lost after the request had its effect: nothing is lost or disordered, on any broker.

The connection dies after the broker's work. Sent messages are sent again, and received messages come again.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from eventkit.domain.message import Message
from eventkit.embedded.ports import free_port
from eventkit.errors import TransportError
from eventkit.transports import Subscription, Transport, open_transport
from eventkit.transports.rabbitmq import topology
from tests.conftest import lend
from tests.servers.kafka import KafkaServer
from tests.servers.proxy import Proxy
from tests.transports.contract import fresh, joined
from tests.transports.leaving import LeavingKafka
from tests.transports.traffic import deliver, first_in_order, messages, number, read_until
from tests.waiting import wait_until

COUNT = 60
MARKS = 1_000  # the first number of the messages sent afterwards
TIMEOUT = 60.0  # seconds


def _amqp(class_id: int, method: int) -> bytes:
    return re.escape(class_id.to_bytes(2, "big") + method.to_bytes(2, "big"))


def _kafka(key: int) -> bytes:
    return b"^...." + re.escape(key.to_bytes(2, "big"))


READING = {
    "redis": {
        "watch": b"WATCH",
        "look at leases": b"HMGET",
        "read what is pending": b"XREADGROUP",
        "read what is new": b"XREADGROUP.*\r\n>\r\n",
        "share": b"EVALSHA",
        "acknowledge": b"XACK",
        "wait": b"XREAD\r",
        "look at the group": b"XINFO\r\n.*GROUPS",
    },
    "rabbitmq": {
        "declare": _amqp(50, 10),
        "bind": _amqp(50, 20),
        "consume": _amqp(60, 20),
        "acknowledge": _amqp(60, 80),
        "prefetch": _amqp(60, 10),
        "ask for an exchange": _amqp(40, 10),
    },
    "activemq": {"subscribe": b"SUBSCRIBE\n", "acknowledge": b"ACK\n", "connect": b"^(STOMP|CONNECT)\n"},
    "kafka": {
        "commit": _kafka(8),
        "fetch": _kafka(1),
        "join": _kafka(11),
        "share": _kafka(14),
        "ask for offsets": _kafka(9),
    },
}
SENDING = {
    "redis": {"send": b"XADD", "ask for a setting": b"CONFIG", "ask for a topic": b"HGET"},
    "rabbitmq": {"send": _amqp(60, 40), "confirm": _amqp(85, 10), "ask for an exchange": _amqp(40, 10)},
    "activemq": {"send": b"SEND\n", "commit": b"COMMIT\n", "begin": b"BEGIN\n"},
    "kafka": {"send": _kafka(0), "become known": _kafka(22)},
}


CASES = [(broker, what, True) for broker, cases in READING.items() for what in cases]
CASES += [(broker, what, False) for broker, cases in SENDING.items() for what in cases]


class Behind(NamedTuple):
    """A broker, and the way to it through a proxy."""

    direct: Transport
    proxied: Transport
    proxy: Proxy


@pytest.fixture(scope="module")
def proxied_kafka() -> Iterator[tuple[KafkaServer, Proxy]]:
    """A Kafka with a listener of its own for those who come through the proxy."""
    port = free_port()
    with Proxy(port, framed=True) as proxy:
        listeners = {
            "listeners": f"PLAINTEXT://{{host}}:{{port}},PROXIED://{{host}}:{port},CONTROLLER://{{host}}:{{controller}}",
            "advertised.listeners": f"PLAINTEXT://{{host}}:{{port}},PROXIED://{{host}}:{proxy.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
        }
        for server in lend("Apache Kafka, behind a proxy", KafkaServer(heap="512m", properties=listeners).start):
            yield server, proxy


@pytest.fixture
def behind(request: pytest.FixtureRequest) -> Iterator[Behind]:
    """The broker that the test names."""
    broker = request.node.callspec.params["broker"]
    if broker == "kafka":
        server, proxy = request.getfixturevalue("proxied_kafka")
        with closing(LeavingKafka(server.url)) as direct, closing(_through(proxy)) as proxied:
            yield Behind(direct, proxied, proxy)
        return
    url = request.getfixturevalue(broker).url
    port = urlsplit(url).port
    with (
        Proxy(port) as proxy,
        closing(open_transport(url)) as direct,
        closing(open_transport(url.replace(f":{port}", f":{proxy.port}"))) as proxied,
    ):
        yield Behind(direct, proxied, proxy)


def _through(proxy: Proxy) -> LeavingKafka:
    return LeavingKafka(f"kafka://127.0.0.1:{proxy.port}", {"session.timeout.ms": "6000"})


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server is killed here, for which a new queue of RabbitMQ's is waited for."""
    monkeypatch.setattr(topology, "NOTED", 0)


@pytest.mark.parametrize(("broker", "what", "reading"), CASES)
def test_the_answer_to_any_request_may_be_lost(behind: Behind, broker: str, what: str, *, reading: bool) -> None:
    """Each message is delivered, first in order; messages acknowledged at last are delivered to nobody again."""
    topic = behind.direct.create_topics([fresh("lost")], partitions=2)[0]
    group = joined(behind.direct, topic, "group")
    batch = messages(topic, COUNT)
    member = Member(behind.proxied if reading else behind.direct, topic, group)

    if reading:
        deliver(behind.direct.publisher(), batch)
        behind.proxy.lose(re.compile(READING[broker][what], re.DOTALL))
    else:
        behind.proxy.lose(re.compile(SENDING[broker][what], re.DOTALL))
        _relay(behind.proxied, batch)
    wait_until(lambda: member.has(COUNT) and behind.proxy.lost.is_set(), timeout=TIMEOUT, what="all of them")
    member.close()

    assert first_in_order(member.found)
    _drain(behind.direct, topic, group)
    assert _drain(behind.direct, topic, group) == []


def _relay(transport: Transport, batch: list[Message]) -> None:
    """Send until each is confirmed, from the first that is not, as the relay does."""
    confirmed: set[int] = set()

    def sent() -> bool:
        publisher = transport.publisher()
        confirmed.update(deliver(publisher, [each for each in batch if each.tag not in confirmed]).confirmed)
        confirmed.update(publisher.abandon().confirmed)
        return len(confirmed) == len(batch)

    wait_until(sent, timeout=TIMEOUT, what="their confirmations")


class Member:
    """A member of a group that begins again after each error, as a projector does."""

    def __init__(self, transport: Transport, topic: str, group: str) -> None:
        self.found: list[Message] = []
        self._join: Callable[[], Subscription] = lambda: transport.subscribe([topic], group)
        self._subscription: Subscription | None = None

    def has(self, count: int) -> bool:
        """Receive, and acknowledge; return whether all numbers were there."""
        try:
            self._subscription = self._subscription or self._join()
            received = self._subscription.receive(7, 0.2)
            self.found += received
            self._subscription.acknowledge(received)
        except TransportError:
            self.close()
        return set(map(number, self.found)) == set(range(count))

    def close(self) -> None:
        """Leave."""
        if self._subscription:
            self._subscription.close()
        self._subscription = None


def _drain(transport: Transport, topic: str, group: str) -> list[int]:
    """Acknowledge every message, to the last of those sent now; return the others."""
    publisher = transport.publisher()
    deliver(publisher, messages(topic, COUNT, start=MARKS))
    publisher.close(1)
    with closing(transport.subscribe([topic], group)) as subscription:
        found = read_until(subscription, lambda found: sum(number(each) >= MARKS for each in found) >= COUNT)
    return [number(each) for each in found if number(each) < MARKS]
