"""The judge of the topic: compares every delivered message with the committed events of the `events` table.

An event is known by its id and a digest of its stream, version, type and data. It knows nothing of the relay, and can
fail: its tests give it a lost, an invented, a changed and a swapped event.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

import msgspec
import psycopg
from psycopg import sql

from eventkit.domain.envelope import EncodedEvent

COMMITTED = "select id::text, stream, version, type, data::text from {}.events order by position"


@dataclass(frozen=True)
class Findings:
    """The fate of the committed events on their topic."""

    published: int  # committed events that were delivered at least once
    lost: int  # committed, never delivered
    phantom: int  # delivered, but not committed, or not like this
    reordered: int  # first delivered after a later version of their stream
    duplicates: int  # deliveries of an event that had been delivered before


class Checker:
    """Takes note of each delivery; `compare` judges at the end."""

    def __init__(self) -> None:
        """Nothing has been delivered yet."""
        self._first: dict[bytes, bytes] = {}  # id -> digest
        self._reached: dict[str, int] = {}  # stream -> highest version delivered
        self.deliveries = 0
        self.reordered = 0

    @property
    def distinct(self) -> int:
        """How many different events have been delivered."""
        return len(self._first)

    def delivered(self, event: EncodedEvent) -> None:
        """Take note of a delivery."""
        self.deliveries += 1
        key = UUID(event.id).bytes
        if key in self._first:
            return
        self._first[key] = digest(event.stream, event.version, event.type, event.data)
        reached = self._reached.get(event.stream, 0)
        self.reordered += event.version < reached
        self._reached[event.stream] = max(event.version, reached)

    def compare(self, committed: Iterable[tuple[str, bytes]]) -> Findings:
        """Compare with ids and digests of the committed events."""
        published = lost = 0
        for id_, expected in committed:
            if self._first.get(UUID(id_).bytes) == expected:
                published += 1
            else:
                lost += 1
        return Findings(
            published=published,
            lost=lost,
            phantom=self.distinct - published,
            reordered=self.reordered,
            duplicates=self.deliveries - self.distinct,
        )


def digest(stream: str, version: int, type_: str, data: bytes | str) -> bytes:
    """Return a short digest of an event; the order of its JSON keys does not matter."""
    facts = msgspec.json.encode([stream, version, type_, msgspec.json.decode(data)], order="sorted")
    return blake2b(facts, digest_size=8).digest()


def committed_events(
    connection: "psycopg.Connection[tuple[str, str, int, str, str]]", schema: str
) -> Iterator[tuple[str, bytes]]:
    """Read ids and digests of all committed events, a few thousand at a time."""
    with connection.transaction(), connection.cursor("committed") as cursor:
        cursor.itersize = 5000
        cursor.execute(sql.SQL(COMMITTED).format(sql.Identifier(schema)))
        for id_, stream, version, type_, data in cursor:
            yield id_, digest(stream, version, type_, data)
