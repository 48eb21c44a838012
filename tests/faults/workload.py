"""The hardest workload of services on a store: each writer a connection of its own, several writers a process.

Early transaction ids, late commits, savepoints released and rolled back, several streams in one statement, hundreds of
rows at once, transactions that stay open, stricter isolation, prepared transactions that others finish, asynchronous
commits. `python -m tests.faults.workload URL CATALOG SECONDS SEED` is one such process; errors of the database are part
of it.
"""

import contextlib
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from eventkit import Append, Appended, Catalog, EventkitError, EventStore, QueryItem
from tests.faults.shop import Noted

STREAMS = 40
THREADS = 4
NAME = "eventkit fault writer"
ISOLATION = ["", "", "", "", "", "", "", "", "isolation level repeatable read", "isolation level serializable"]

Connection = psycopg.Connection[Any]
Kind = Callable[[Connection], None]


class Writer:
    """One writer: a loop of transactions, each of a kind chosen by chance."""

    streams = STREAMS
    pace = 0.0  # seconds between two transactions, at most

    def __init__(self, url: str, catalog: str, seed: int) -> None:
        """Connect when it runs."""
        self._url = url
        self._chance = random.Random(seed)
        self._catalog = Catalog(catalog)
        self._catalog.event(Noted)
        self._store = EventStore(self._catalog)
        self._seed = seed
        self._kinds: list[tuple[int, Kind]] = [
            (20, self.plain),
            (15, self.early),
            (15, self.late),
            (10, self.twice),
            (10, self.savepoints),
            (10, self.many),
            (10, self.rolled_back),
            (10, self.tagged),
            (10, self.decided),
            (5, self.asynchronous),
            (3, self.bulk),
            (3, self.prepared),
            (1, self.long),
        ]

    def run(self, seconds: float) -> None:
        """Write until the time is over, through every error; finish prepared transactions."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                with psycopg.connect(self._url, application_name=NAME) as connection:
                    self._write(connection, end)
            except psycopg.Error:
                continue  # terminated: connect again

    def note(self, connection: Connection, appended: Sequence[Appended]) -> None:
        """Note the appended events, in their transaction."""

    def _write(self, connection: Connection, end: float) -> None:
        while time.monotonic() < end:
            self._pause(self.pace)
            kinds = [kind for _, kind in self._kinds]
            kind = self._chance.choices(kinds, [weight for weight, _ in self._kinds])[0]
            try:
                connection.execute(f"begin {self._chance.choice(ISOLATION)}")
                if self._chance.random() < 0.1:
                    connection.execute("set local lock_timeout = '50ms'")
                kind(connection)
                connection.commit()
            except (psycopg.Error, EventkitError):
                connection.rollback()

    def _append(self, connection: Connection, stream: str = "", count: int = 0) -> str:
        stream = stream or self._stream()
        events = [Noted(number) for number in range(count or self._chance.choice((1, 1, 1, 2, 3)))]
        self.note(connection, [self._store.append(connection, stream, *events)])
        return stream

    def _stream(self) -> str:
        return str(self._catalog.stream("order", self._chance.randrange(self.streams)))

    def _pause(self, longest: float) -> None:
        time.sleep(self._chance.uniform(0, longest))

    def plain(self, connection: Connection) -> None:
        """Append and commit."""
        self._append(connection)

    def early(self, connection: Connection) -> None:
        """Take a transaction id early, append late."""
        connection.execute("select pg_current_xact_id()")
        self._pause(0.05)
        self._append(connection)

    def late(self, connection: Connection) -> None:
        """Commit late."""
        self._append(connection)
        self._pause(0.1)

    def twice(self, connection: Connection) -> None:
        """Append to one stream on both sides of the others' appends."""
        stream = self._append(connection)
        self._pause(0.05)
        self._append(connection, stream)

    def savepoints(self, connection: Connection) -> None:
        """Append inside savepoints, some rolled back."""
        for number in range(self._chance.randint(1, 4)):
            connection.execute(f"savepoint s{number}")
            self._append(connection)
            self._pause(0.01)
            ending = "rollback to" if self._chance.random() < 0.4 else "release"
            connection.execute(f"{ending} savepoint s{number}")

    def many(self, connection: Connection) -> None:
        """Append to several streams in one statement."""
        streams = {self._stream() for _ in range(self._chance.randint(2, 6))}
        appends = [Append(stream, [Noted(1), Noted(2)]) for stream in streams]
        self.note(connection, self._store.append_many(connection, appends))

    def rolled_back(self, connection: Connection) -> None:
        """Append and think better of it."""
        self._append(connection)
        self._pause(0.02)
        connection.rollback()

    def tagged(self, connection: Connection) -> None:
        """Append with tags that others use as well."""
        appended = self._store.append(connection, self._stream(), Noted(1), Noted(2), tags=self._tags())
        self._pause(0.02)
        self.note(connection, [appended])

    def decided(self, connection: Connection) -> None:
        """Append by a decision; in a savepoint that is rolled back, now and then."""
        decision = self._store.query(connection, *(QueryItem([tag]) for tag in self._tags()))
        self._pause(0.01)
        connection.execute("savepoint decided")
        appended = self._store.append(connection, self._stream(), Noted(1), tags=self._tags(), unless_changed=decision)
        if self._chance.random() < 0.2:
            connection.execute("rollback to savepoint decided")
        else:
            self.note(connection, [appended])

    def _tags(self) -> list[str]:
        return [f"tag:{self._chance.randrange(10)}" for _ in range(self._chance.randint(1, 3))]

    def asynchronous(self, connection: Connection) -> None:
        """Commit without waiting for the disk, against the append's own setting."""
        self._append(connection)
        connection.execute("set local synchronous_commit = off")

    def bulk(self, connection: Connection) -> None:
        """Append hundreds of rows."""
        self._append(connection, count=self._chance.randint(50, 800))

    def prepared(self, connection: Connection) -> None:
        """Prepare; the process's finisher ends it after a while, from another session."""
        self._append(connection)
        connection.execute(f"prepare transaction '{self._seed}-{self._chance.getrandbits(60)}'")

    def long(self, connection: Connection) -> None:
        """Stay open."""
        self._append(connection, self._stream())
        time.sleep(1.5 + self._chance.random() * 2)


def finish(url: str, *, after: float = 0.0, rolled_back: float = 0.2) -> None:
    """End transactions prepared for longer than `after` seconds, some of them by a rollback."""
    older = """select gid from pg_prepared_xacts
                where database = current_database() and prepared < now() - %s * interval '1 s'"""
    with psycopg.connect(url, autocommit=True) as connection:
        for (name,) in connection.execute(older, (after,)).fetchall():
            ending = "rollback" if random.random() < rolled_back else "commit"
            with contextlib.suppress(psycopg.errors.UndefinedObject, psycopg.errors.ObjectNotInPrerequisiteState):
                connection.execute(f"{ending} prepared '{name}'")  # unless another finisher was faster


def work(writers: Sequence[Writer], url: str, seconds: float) -> None:
    """Run writers, each on a thread, and finish their prepared transactions."""
    threads = [threading.Thread(target=writer.run, args=(seconds,)) for writer in writers]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.1)
        finish(url, after=random.uniform(0, 3))


def main(url: str, catalog: str, seconds: str, seed: str) -> None:
    """Run the writers of one process."""
    work([Writer(url, catalog, int(seed) * 100 + number) for number in range(THREADS)], url, float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
