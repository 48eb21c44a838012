"""Reads a topic until its last event is there, and reports the fate of the other messages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from uuid import uuid4

from eventkit.projection.define.projection import Projection
from eventkit.projection.run.projector import Projector
from eventkit.projection.run.sources import TransportSource
from eventkit.transports import Transport
from tests.hostile.foreign import Foreign, Send
from tests.hostile.kinds import event
from tests.projection.shop import projector, rows
from tests.waiting import wait_until

GOOD = b'{"customer": "good", "amount": 1}'


class Fate(NamedTuple):
    """The fate of messages."""

    applied: int  # of the odd ones
    unhandled: int
    duplicates: int  # provably or perhaps
    letters: list[tuple[str, str, str]]  # stream, cause, error

    @property
    def told(self) -> int:
        """How many messages took effect, or left a letter or a count."""
        return self.applied + self.unhandled + self.duplicates + len(self.letters)


@contextmanager
def joined(transport: Transport, topic: str) -> Iterator[TransportSource]:
    """Create a topic of one shard and join it with a group of its own."""
    transport.create_topics([topic], partitions=1)
    source = TransportSource(transport.subscribe([topic], f"g{uuid4().hex[:12]}"))
    yield source
    source.close()


def swallow(
    url: str, transport: Transport, send: Send, messages: Sequence[Foreign], projection: Projection | None = None
) -> Fate:
    """Send messages between two good events, and read until the second of these is applied."""
    topic, key = f"shop{uuid4().hex[:12]}.order", f"order-{uuid4().hex}"
    with joined(transport, topic) as source, projector(url, projection) as running:
        send(topic, [event(key, 1, GOOD), *messages, event(key, 2, GOOD)])
        wait_until(lambda: _applied(url, running, source, key) == 2, timeout=120, what="the good events to be applied")
    counted = running.counters
    letters = rows(url, "select stream, cause, error from eventkit.dead_letters order by id")
    return Fate(
        counted.applied - counted.unhandled - 2, counted.unhandled, counted.duplicates + counted.unknown, letters
    )


def _applied(url: str, running: Projector, source: TransportSource, key: str) -> int:
    running.step(source)
    found = rows(url, f"select version from eventkit.checkpoints where stream = '{key}'")
    return int(found[0][0]) if found else 0
