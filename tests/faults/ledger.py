"""Writers that keep a ledger of their own, in the transactions that append; and the received events, to be judged.

`python -m tests.faults.ledger URL SECONDS SEED PACE` is a process of such writers: those of the workload, with a pause
of `PACE` seconds at most between transactions.
"""

import sys
from collections.abc import Sequence
from typing import Any

import psycopg
from sqlalchemy import create_engine

from eventkit import Appended
from tests.faults.checker import Arrival
from tests.faults.read_models import metadata
from tests.faults.shop import shop
from tests.faults.workload import Connection, Writer, work

WRITERS = 6
STREAMS = 120
_LEDGER = "create table ledger (stream text, version int, id text)"
_ENTRY = """insert into ledger select %(stream)s, %(version)s::int - %(count)s + place, id
              from unnest(%(ids)s::text[]) with ordinality u(id, place)"""
_PROGRESS = """select (select count(*) from ledger),
                      (select coalesce(sum(length(trail) - length(replace(trail, ':', ''))), 0) from seen),
                      (select count(*) from effects),
                      (select count(*) from eventkit.outbox)"""


class LedgerWriter(Writer):
    """A writer whose rollbacks take its ledger back, too."""

    streams = STREAMS

    def __init__(self, url: str, seed: int, *, pace: float) -> None:
        """Write into the shop of the read models."""
        super().__init__(url, shop.name, seed)
        self.pace = pace
        kinds = [(weight, kind) for weight, kind in self._kinds if kind not in (self.bulk, self.long)]
        self._kinds = [*kinds, (1, self.bulk)]

    def note(self, connection: Connection, appended: Sequence[Appended]) -> None:
        """Write it down."""
        for each in appended:
            note(connection, each)


def note(connection: Connection, appended: Appended) -> None:
    """Write down appended events, in their transaction."""
    ids = [str(event_id) for event_id in appended.ids]
    entry = {"stream": str(appended.stream), "version": appended.version, "count": len(ids), "ids": ids}
    connection.execute(_ENTRY, entry)


def create(url: str) -> None:
    """Make the tables of a campaign."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    metadata.create_all(engine)
    engine.dispose()
    with psycopg.connect(url) as connection:
        connection.execute(_LEDGER)


def progress(connection: psycopg.Connection[Any]) -> tuple[int, int, int, int]:
    """Return how many events were committed, seen, acted upon, and are unsent."""
    written, seen, acted, unsent = connection.execute(_PROGRESS).fetchone() or (0, 0, 0, 0)
    return int(written), int(seen), int(acted), int(unsent)


def committed(connection: psycopg.Connection[Any]) -> list[Arrival]:
    """Return the rows of the ledger."""
    return [Arrival(*row) for row in connection.execute("select stream, version, id from ledger")]


def seen(connection: psycopg.Connection[Any]) -> list[Arrival]:
    """Return the rows of the read model, in its order per stream."""
    rows = connection.execute("select stream, trail from seen").fetchall()
    steps = [(stream, *step.split(":")) for stream, trail in rows for step in trail.split()]
    return [Arrival(stream, int(version), event_id) for stream, version, event_id in steps]


def effects(connection: psycopg.Connection[Any]) -> list[Arrival]:
    """Return the effects of the handler, in its order."""
    return [Arrival(*row) for row in connection.execute("select stream, version, id from effects order by place")]


def main(url: str, seconds: str, seed: str, pace: str) -> None:
    """Run the writers of one process."""
    writers = [LedgerWriter(url, int(seed) * 100 + number, pace=float(pace)) for number in range(WRITERS)]
    work(writers, url, float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
