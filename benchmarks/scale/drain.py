"""The steady rate at which relays drain a backlog, and their memory.

In front of the events that are counted wait some more. The clock starts when those have come into the topic, so that
processes, producers and partitions are warm and pages fly, and it ends when the last event has come: the start is in no
figure, however few are counted. The broker is asked for the number of events that have come.
"""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import msgspec
from confluent_kafka import Consumer, TopicPartition

from benchmarks import running
from benchmarks.measure import Meter
from benchmarks.scale.store import Store
from benchmarks.servers import Kafka

Relay = subprocess.Popen[bytes]

PARTITIONS = 6
AHEAD = 50_000  # events in front, more than a relay has in flight
_TICK = 0.002
_DEADLINE = 1_200.0


class Drained(msgspec.Struct, frozen=True):
    """The result of one drain; the memory is the peak of all relays together."""

    rate: float
    memory_mb: float
    repeated: int  # sent once more than needed, as after a lost connection


class Topic:
    """A topic whose events can be counted."""

    def __init__(self, kafka: Kafka, name: str) -> None:
        """Create it."""
        self.name = name
        self.bootstrap = kafka.bootstrap
        kafka.create_topic(name, PARTITIONS)
        self._consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": name})

    def count(self) -> int:
        """Return how many events have come into it."""
        places = [TopicPartition(self.name, number) for number in range(PARTITIONS)]
        return sum(self._consumer.get_watermark_offsets(place, timeout=30)[1] for place in places)

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()


def drain(store: Store, topic: Topic, events: int, *, relays: int = 1) -> Drained:
    """Let so many events wait, and so many relays drain them; RuntimeError when one has not come."""
    ahead = min(AHEAD, store.events - events)
    store.share(relays)
    store.wait(ahead + events, topic.name)
    before, started = topic.count(), time.perf_counter()
    with ExitStack() as open_:
        processes = [open_.enter_context(running.relay(store.url, topic.bootstrap)) for _ in range(relays)]
        meters = [Meter(process.pid) for process in processes]
        first, began = _until(topic, before + ahead, processes)
        last, ended = _until(topic, before + ahead + events, processes)
        _until_settled(store, processes)
        memory = sum(meter.sample(0, 1).memory_mb for meter in meters)
    repeated = topic.count() - before - ahead - events
    if repeated < 0:
        raise RuntimeError(f"the outbox is empty, but {-repeated} events of {ahead + events} have not come")
    if first == last:  # all of them came between two looks: too few to be counted
        first, began = before, started
    return Drained((last - first) / (ended - began), memory, repeated)


def _until(topic: Topic, wanted: int, relays: Sequence[Relay]) -> tuple[int, float]:
    """Wait until so many have come; return how many there are, and when they were counted."""
    for _ in _looks(relays):
        if (found := topic.count()) >= wanted:
            return found, time.perf_counter()
    raise TimeoutError(f"{wanted - topic.count()} events have not come after {_DEADLINE:g} s")


def _until_settled(store: Store, relays: Sequence[Relay]) -> None:
    for _ in _looks(relays):
        if not store.waiting():
            return
    raise TimeoutError(f"{store.waiting()} events are still in the outbox after {_DEADLINE:g} s")


def _looks(relays: Sequence[Relay]) -> Iterator[None]:
    """Look again and again, until the deadline; a relay that has ended by itself is an error."""
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        for relay in relays:
            running.check(relay)
        yield
        time.sleep(_TICK)
