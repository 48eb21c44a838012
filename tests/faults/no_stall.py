"""The cost of a poll beside everything that stalls other relays, against a database without any of it, in turns.

Open: a transaction of another database, one that appended, a prepared one that appended, and an old snapshot over
500,000 dead outbox rows; and 100,000 rolled-back appends whose positions may still be theirs.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from eventkit.storage.outbox.gap_reader import GapReader
from eventkit.storage.outbox.outbox import Outbox
from tests.faults.shop import note, reading
from tests.servers.postgres import PostgresServer

Connection = psycopg.Connection[Any]

DEAD_ROWS = 500_000
ROLLED_BACK, AT_ONCE = 100_000, 1_000
ROUNDS = 3


@dataclass(frozen=True)
class Polls:
    """Medians in milliseconds, each over the same number of polls in turns."""

    without: tuple[float, float]  # in each of the two rounds
    beside: float
    after_a_restart: float
    start: float  # the first read of the restarted reader, in milliseconds
    late: list[int]  # versions of the held transactions' events that came when they had ended

    @property
    def ratio(self) -> float:
        """How many times a poll costs beside all that."""
        return max(self.beside / self.without[0], self.after_a_restart / self.without[1])


class Side:
    """A database with a writer, a reader and messages in flight."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.writer = psycopg.connect(url)
        self.connection = reading(url)
        self.start()

    def start(self) -> float:
        """Start a reader; return how long its first read took, in milliseconds."""
        began = time.perf_counter()
        self.reader = GapReader(Outbox(self.connection, "eventkit"))
        self.reader.start_pending()
        self.reader.read()
        return (time.perf_counter() - began) * 1_000

    def poll(self) -> float:
        """Commit an event, read, settle; return the read's milliseconds. The event must be there at once."""
        position = note(self.writer, "busy").position
        self.writer.commit()
        began = time.perf_counter()
        rows = self.reader.read()
        took = (time.perf_counter() - began) * 1_000
        assert [row[0] for row in rows] == [position], f"{position} waits for others: {rows}"
        self.writer.execute("delete from eventkit.outbox where position = %s", (position,))
        self.writer.commit()
        return took

    def close(self) -> None:
        """Close the connections."""
        self.writer.close()
        self.connection.close()


def measure(server: PostgresServer, *, polls: int = 600) -> Polls:
    """Make both databases, and poll them in turns."""
    quiet, busy = Side(server.fresh()), Side(server.fresh())
    try:
        with troubled(server, busy) as held:
            first = in_turns(quiet, busy, polls)
            started = busy.start()
            second = in_turns(quiet, busy, polls)
            held.commit()
            busy.writer.execute("commit")
            with psycopg.connect(busy.url, autocommit=True) as finisher:
                finisher.execute("commit prepared 'never'")
            late = sorted(int(row[3]) for _ in range(3) for row in busy.reader.read())
    finally:
        for side in (quiet, busy):
            side.close()
            server.drop(side.url)
    return Polls((first[0], second[0]), first[1], second[1], started, late)


def in_turns(quiet: Side, busy: Side, polls: int) -> tuple[float, float]:
    """Poll one, then the other; return the medians of the best of three rounds.

    The cost is in all of them, the machine's noise is not.
    """
    rounds = []
    for _ in range(ROUNDS):
        pairs = [(quiet.poll(), busy.poll()) for _ in range(polls // ROUNDS)]
        rounds.append((statistics.median(q for q, _ in pairs), statistics.median(b for _, b in pairs)))
    return min(rounds, key=lambda medians: medians[1] / medians[0])


@contextlib.contextmanager
def troubled(server: PostgresServer, side: Side) -> Iterator[Connection]:
    """Open all that stalls others, and yield the transaction that has appended."""
    make_dead_rows_later(side.writer)
    with (
        psycopg.connect(server.url) as elsewhere,
        psycopg.connect(side.url) as old,
        psycopg.connect(side.url) as held,
        psycopg.connect(side.url) as prepared,
    ):
        elsewhere.execute("select pg_current_xact_id()")
        old.execute("begin isolation level repeatable read")
        old.execute("select count(*) from eventkit.outbox")
        side.writer.execute("delete from eventkit.outbox")
        side.writer.commit()
        note(held, "held")
        note(prepared, "prepared", 2)
        prepared.execute("prepare transaction 'never'")
        for _ in range(ROLLED_BACK // AT_ONCE):
            note(side.writer, "regretted", AT_ONCE)
            side.writer.rollback()
            side.poll()
        yield held


def make_dead_rows_later(writer: Connection) -> None:
    """Fill the outbox with rows that have no event, below every position to come."""
    sequence = "pg_get_serial_sequence('eventkit.events', 'position')"
    writer.execute(f"select setval({sequence}, {DEAD_ROWS})")
    writer.execute(f"insert into eventkit.outbox select g, 'gone', 0, 1 from generate_series(1, {DEAD_ROWS}) g")
    writer.commit()
