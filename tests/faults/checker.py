"""The judge of every fault test: the received messages, in their order, against the `events` table."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg


class Arrival(NamedTuple):
    """One event as a transport delivered it, or as the table has it."""

    stream: str
    version: int
    id: str


@dataclass(frozen=True)
class Verdict:
    """Counts of each kind of fault; all but `written` and `duplicates` must be zero."""

    written: int
    lost: int
    phantom: int
    reordered: int
    duplicates: int

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.phantom or self.reordered)


def judge(arrivals: Iterable[Arrival], recorded: Iterable[Arrival]) -> Verdict:
    """Compare. Reordered is an event whose first delivery comes after that of a later version of its stream."""
    truth, counts = set(recorded), Counter(arrivals)
    highest: dict[str, int] = {}
    reordered = 0
    for arrival in counts:  # in order of first delivery
        reordered += arrival.version < highest.get(arrival.stream, 0)
        highest[arrival.stream] = max(arrival.version, highest.get(arrival.stream, 0))
    return Verdict(
        written=len(truth),
        lost=len(truth - counts.keys()),
        phantom=len(counts.keys() - truth),
        reordered=reordered,
        duplicates=counts.total() - len(counts),
    )


def recorded(connection: psycopg.Connection[Any]) -> list[Arrival]:
    """Return the events of the store."""
    return [Arrival(*row) for row in connection.execute("select stream, version, id::text from eventkit.events")]
