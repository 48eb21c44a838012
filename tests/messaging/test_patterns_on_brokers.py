"""The four patterns, the same on each real broker, and responders killed at each crash point."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from eventkit.errors import RequestTimeout
from eventkit.messaging.listener import Listener
from eventkit.messaging.requester import Requester
from eventkit.messaging.sender import Sender
from eventkit.transports import Transport, open_transport
from eventkit.transports.rabbitmq import topology
from tests.messaging.pricing import TOPICS, GetPrice, OrderTea, Price, PriceChanged, orders, pricing, working
from tests.messaging.shop import rows
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
BROKERS = ["kafka", "rabbitmq", "redis", "activemq"]
KILLED = {"kafka": {"session.timeout.ms": "6000"}, "redis": {"session_timeout": "1"}}  # a death is soon noticed
POINTS = ["applied_not_committed", "committed_not_answered", "answered_not_acknowledged"]
TEA = pricing.stream("price", "tea")


class Broker(NamedTuple):
    """One of the four, with the topics."""

    url: str
    options: dict[str, str]
    transport: Transport


@pytest.fixture
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """The session's broker of that name."""
    monkeypatch.setattr(topology, "NOTED", 0)
    url = request.getfixturevalue(request.param).url
    transport = open_transport(url)
    transport.create_topics(TOPICS, partitions=2)
    for group, topic in (("desk", "pricing.price"), ("orders", "pricing.order"), ("books", "pricing.order")):
        transport.subscribe([topic], group).close()
    yield Broker(url, KILLED.get(request.param, {}), transport)
    transport.close()


@pytest.mark.parametrize("broker", [*BROKERS, "embedded_kafka"], indirect=True)
def test_publish_subscribe_point_to_point_and_broadcast(broker: Broker, url: str) -> None:
    """Every group gets each command, one of its members, in order; every instance receives each broadcast."""
    stream = pricing.stream("order", uuid.uuid4())
    heard: list[set[str]] = [set(), set()]
    listeners = [_instance(broker.transport, seen) for seen in heard]

    with (
        listeners[0],
        listeners[1],
        working(url, broker.url, orders()),
        working(url, broker.url, orders()),
        working(url, broker.url, orders("books")),
        Sender(broker.transport, pricing) as sender,
    ):
        for number in range(10):
            sender.send(stream, OrderTea(number))
        sender.broadcast(TEA, *[PriceChanged(f"{stream} {number}") for number in range(10)])
        wait_until(lambda: all(len(seen) == 10 for seen in heard), timeout=60, what="both to have heard all")
        wait_until(lambda: len(_asked(url, stream)) == 20, timeout=60, what="both groups to have handled all")

    assert _asked(url, stream) == [(group, number) for group in ("books", "orders") for number in range(10)]


@pytest.mark.parametrize("broker", [*BROKERS, "embedded_kafka"], indirect=True)
def test_a_request_has_its_reply_and_a_late_one_is_dropped(broker: Broker, url: str) -> None:
    """A requester that waits no longer gets no reply; if it asks again with its id, the kept reply comes."""
    tea, late = (f"{name} {uuid.uuid4()}" for name in ("tea", "late"))  # other tests have asked on these topics
    with Requester(broker.transport, pricing, replies="shop.replies") as requester:
        with pytest.raises(RequestTimeout) as caught:
            requester.request(TEA, GetPrice(late), Price, timeout=0.01)
        with working(url, broker.url):
            assert requester.request(TEA, GetPrice(tea, 3), Price, timeout=60) == Price(tea, 300)
            wait_until(lambda: requester.pending.late == 1, timeout=60, what="the late reply")
            again = requester.request(TEA, GetPrice(late), Price, timeout=60, request_id=caught.value.request_id)

    assert again == Price(late, 100)
    asked = [article for (article,) in rows(url, "select article from asked") if article in {tea, late}]
    assert sorted(asked) == [late, tea]


@pytest.mark.parametrize(
    ("broker", "point"),
    [*((broker, "committed_not_answered") for broker in BROKERS), *(("redis", point) for point in POINTS[::2])],
    indirect=["broker"],
)
def test_a_responder_killed_at_a_crash_point_is_answered_by_another(broker: Broker, url: str, point: str) -> None:
    """With -9: the request is worked once, and answered."""
    article = f"tea {uuid.uuid4()}"
    options = [f"{name}={value}" for name, value in broker.options.items()]
    command = [sys.executable, "-m", "tests.messaging.pricing", url, broker.url, point, *options]
    with (
        subprocess.Popen(command, cwd=ROOT) as first,
        Requester(broker.transport, pricing, replies="shop.replies") as requester,
        ThreadPoolExecutor(1) as thread,
    ):
        reply = thread.submit(requester.request, TEA, GetPrice(article), Price, timeout=60)
        assert first.wait(60) == -9
        with working(url, broker.url, options=broker.options):
            assert reply.result(60) == Price(article, 100)

    assert rows(url, "select count(*) from asked where article = %s", [article]) == [(1,)]


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_fork_of_a_process_keeps_sending_and_asking(broker: Broker, url: str) -> None:
    """Clients opened before it belong to its parent: it opens its own, as servers do that load an application first."""
    with working(url, broker.url), working(url, broker.url, orders()):
        command = [sys.executable, "-c", FORKS, broker.url]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

        assert told.stdout.split() == ["100", "200", "0"], told.stderr
        wait_until(lambda: len(_asked(url, "order-fork")) == 2, timeout=60, what="what both have sent")


FORKS = """
import os, sys
from tests.messaging.pricing import *
from eventkit.messaging import Requester, Sender
from eventkit.transports import open_transport

transport = open_transport(sys.argv[1])
sender, requester = Sender(transport, pricing), Requester(transport, pricing, replies="shop.replies")

def talk(count):
    sender.send(pricing.stream("order", "fork"), OrderTea(count))
    price = requester.request(pricing.stream("price", "tea"), GetPrice("tea", count), Price, timeout=60)
    print(price.cents, flush=True)

talk(1)
child = os.fork()
if child == 0:
    talk(2)
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


def _instance(transport: Transport, heard: set[str]) -> Listener:
    listener = Listener(transport, pricing, categories=["price"])

    @listener.on(PriceChanged)
    def changed(event: PriceChanged) -> None:
        heard.add(event.article)

    return listener


def _asked(url: str, stream: str) -> list[tuple[str, int]]:
    return rows(url, "select article, count from asked where of = %s order by article, ctid", [stream])


@pytest.mark.parametrize("broker", [*BROKERS, "embedded_kafka"], indirect=True)
def test_a_program_that_is_loaded_before_its_workers_are_forked_works_in_each(broker: Broker) -> None:
    """As under `gunicorn --preload`: workers listen, send and ask like the parent, which still runs when they end."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.messaging.preloaded", broker.url],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2_000:]
