"""Request and reply through a broker: a responder in a process of its own, as operators run it, and one that asks.

The clock runs from `request` to its return: there and back through the broker, the responder's transaction in between.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from benchmarks.transports.contestant import DEADLINE, SHARDS
from eventkit.domain.catalog.catalog import Catalog
from eventkit.messaging.requester import Requester
from eventkit.messaging.responder import Responder
from eventkit.storage.events.event_store import EventStore
from eventkit.transports import open_transport

pricing = Catalog("benchpricing")
_TOPIC, _REPLIES = "benchpricing.price", "bench.replies"
_WARM, _ARTICLES = 200, 20


@pricing.event
@dataclass(frozen=True)
class GetPrice:
    article: str


@pricing.event
@dataclass(frozen=True)
class Price:
    cents: int


desk = Responder("bench_desk", EventStore(pricing), categories=["price"])


@desk.on(GetPrice)
def price(_: Connection, request: GetPrice) -> Price:
    """Answer."""
    return Price(len(request.article))


def request_reply(database_url: str, transport_url: str, requests: int) -> list[float]:
    """Return how many milliseconds each of some requests took, one after the other."""
    transport = open_transport(transport_url)
    transport.create_topics([_TOPIC, _REPLIES], partitions=SHARDS)
    transport.subscribe([_TOPIC], desk.name).close()  # its place, where a broker keeps nothing for those who come later
    took, warm = list[float](), min(_WARM, 10 * requests)
    with _responder(database_url, transport_url), Requester(transport, pricing, replies=_REPLIES) as requester:
        for number in range(warm + requests):
            article = f"article{number % _ARTICLES}"
            began = time.perf_counter()
            requester.request(pricing.stream("price", article), GetPrice(article), Price, timeout=DEADLINE)
            took.append(1_000 * (time.perf_counter() - began))
    transport.close()
    return took[warm:]


@contextmanager
def _responder(database_url: str, transport_url: str) -> Iterator[None]:
    urls = {"EVENTKIT_DATABASE_URL": database_url, "EVENTKIT_TRANSPORT_URL": transport_url}
    command = [sys.executable, "-m", "eventkit.cli", "projector", "run", "benchmarks.transports.asking:desk"]
    command += ["--group", desk.name]
    process = subprocess.Popen(command, env={**os.environ, **urls}, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)
