"""The messages of a topic: their number, their speed by the broker's clock, and missing, repeated or disordered ones.

Each number of a backlog is looked for in every message, and the key beside it. The clock is the broker's time of
appending (LogAppendTime), from the first event of the backlog to the last: the same for all, however slow the start.
"""

import re
import time
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Self

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from benchmarks.openloop import STREAMS
from benchmarks.peers.carrier import Carrier
from tests.servers import ServerFailed

PARTITIONS = 6
_NUMBER = re.compile(rb"number-(\d+)-")
_STALL = 20.0  # seconds without anything new, after which missing events are lost
_TICK = 0.25  # seldom: it must not cost the contestant anything


class Delivered(msgspec.Struct, frozen=True):
    """The events of a backlog that are in a topic."""

    events: int  # different ones
    seconds: float
    missing: int
    repeated: int
    reordered: int
    headers: int


class Topic:
    """A topic of a turn's own, read from outside every contestant."""

    def __init__(self, bootstrap: str, name: str) -> None:
        """Connect."""
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "peers",
                "enable.auto.commit": False,
                "fetch.queue.backoff.ms": 20,
            }
        )
        self._partitions = [TopicPartition(name, number, OFFSET_BEGINNING) for number in range(PARTITIONS)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def size(self) -> int:
        """Return how many messages are in it."""
        ends = [self._consumer.get_watermark_offsets(partition, timeout=30) for partition in self._partitions]
        return sum(high - low for low, high in ends)

    def wait(self, count: int, carrier: Carrier, *, limit: float) -> bool:
        """Wait until so many are in it; return False when time is over while more still come."""
        now = time.monotonic()
        deadline, stall, size = now + limit, now + _STALL, 0
        while (found := self.size()) < count:
            carrier.check()
            now = time.monotonic()
            if found > size:
                size, stall = found, now + _STALL
            if now > stall:
                return True
            if now > deadline:
                return False
            time.sleep(_TICK)
        return True

    def delivered(self, numbers: Collection[int]) -> Delivered:
        """Read all of it, and look for these."""
        seen, newest = set[int](), [0] * STREAMS
        first = last = repeated = reordered = headers = 0
        for message in self._messages():
            number = _number(message)
            if number not in numbers:
                continue  # of the warm-up
            if number in seen:
                repeated += 1
                continue
            seen.add(number)
            at = message.timestamp()[1]
            first, last = min(first or at, at), max(last, at)
            reordered += number < newest[number % STREAMS]
            newest[number % STREAMS] = max(number, newest[number % STREAMS])
            headers = max(headers, len(message.headers() or ()))
        seconds = max(last - first, 1) / 1000
        return Delivered(len(seen), seconds, len(numbers) - len(seen), repeated, reordered, headers)

    def _messages(self) -> Iterator[Message]:
        left = self.size()
        self._consumer.assign(self._partitions)
        while left > 0:
            messages = self._consumer.consume(min(left, 10_000), timeout=30)
            if not messages:
                raise ServerFailed(f"{left} messages that the broker has were not to be read within 30 s")
            left -= len(messages)
            yield from messages
        self._consumer.unassign()


def _number(message: Message) -> int:
    found = _NUMBER.search(message.value() or b"")
    if not found:
        raise ServerFailed(f"a message without its number: {message.value()!r}, {message.error()}")
    number = int(found[1])
    if message.key() != b"order-%d" % (number % STREAMS):
        raise ServerFailed(f"event {number} has the key {message.key()!r}: its stream's order would be nobody's")
    return number
