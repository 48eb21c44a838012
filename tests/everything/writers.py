"""Services that append in open transactions beside each other, and a model of the events that each sees.

An append that waits for another writer's lock waits on a thread of its own, and is compared with the model when it is
through: the transaction it waited for has committed or rolled back by then.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg

from eventkit.errors import AppendDeadlock, ConcurrencyError
from eventkit.storage.events.event_store import ANY, NO_STREAM, Appended, EventStore, Expected
from tests.everything.read_models import Done, acts
from tests.waiting import wait_until

store = EventStore(acts)
Numbers = dict[str, list[int]]  # of events, by stream

_BLOCKED = "select pid, pg_blocking_pids(pid) from unnest(%s::int[]) pid"


def expectation(kind: str, version: int) -> Expected | int:
    """Return an expectation of that kind, for a stream that is at `version`."""
    kinds: dict[str, Expected | int] = {"any": ANY, "none": NO_STREAM, "low": max(version - 1, 0), "high": version + 1}
    return kinds.get(kind, version)


@dataclass
class Asked:
    """An append that is under way."""

    events: Sequence[Done]
    expected: Expected | int
    result: "Future[Appended]"

    def holds(self, version: int) -> bool:
        """Return the expected events of the store."""
        return self.expected is ANY or (0 if self.expected is NO_STREAM else self.expected) == version


class Writer:
    """One connection and its transaction."""

    connection: psycopg.Connection[Any]
    pending: Numbers
    savepoints: list[Numbers]

    def __init__(self, url: str, committed: Numbers) -> None:
        """Share committed events with the other writers."""
        self.committed = committed
        self.asked: Asked | None = None
        self._url = url
        self._thread = ThreadPoolExecutor(1)
        self._begin_anew()

    @property
    def pid(self) -> int:
        """The server process."""
        return self.connection.info.backend_pid

    def append(self, events: Sequence[Done], kind: str) -> None:
        """Ask the store; the answer may have to wait."""
        expected = expectation(kind, self._version(events[0].name))
        result = self._thread.submit(store.append, self.connection, events[0].name, *events, expected=expected)
        self.asked = Asked(events, expected, result)

    def compare(self) -> None:
        """Compare the answer with the model."""
        asked, self.asked = self.asked, None
        assert asked is not None
        stream, error = asked.events[0].name, asked.result.exception()
        version = self._version(stream)
        if isinstance(error, AppendDeadlock):
            self.roll_back()
        elif asked.holds(version):
            assert asked.result.result().version == version + len(asked.events)
            self.pending.setdefault(stream, []).extend(event.number for event in asked.events)
        else:
            assert isinstance(error, ConcurrencyError), error
            assert (error.stream, error.actual, error.transaction_usable) == (stream, version, True)

    def savepoint(self) -> None:
        """Open a nested transaction."""
        self.connection.execute(f"savepoint s{len(self.savepoints)}".encode())
        self.savepoints.append({stream: list(numbers) for stream, numbers in self.pending.items()})

    def roll_back_to_the_savepoint(self) -> None:
        """Take the nested transaction back."""
        if self.savepoints:
            self.pending = self.savepoints.pop()
            self.connection.execute(f"rollback to savepoint s{len(self.savepoints)}".encode())

    def release_the_savepoint(self) -> None:
        """Keep the nested transaction."""
        if self.savepoints:
            self.savepoints.pop()
            self.connection.execute(f"release savepoint s{len(self.savepoints)}".encode())

    def commit(self) -> None:
        """Commit."""
        self.connection.commit()
        for stream, numbers in self.pending.items():
            self.committed.setdefault(stream, []).extend(numbers)
        self.pending, self.savepoints = {}, []

    def roll_back(self) -> None:
        """Take all of it back."""
        self.connection.rollback()
        self.pending, self.savepoints = {}, []

    def die(self, admin: psycopg.Connection[Any]) -> None:
        """Be killed, waiting or not, and start again."""
        pid = self.pid
        admin.execute("select pg_terminate_backend(%s)", (pid,))
        wait_until(lambda: not admin.execute("select from pg_stat_activity where pid = %s", (pid,)).fetchall())
        if self.asked is not None:
            assert self.asked.result.exception(60) is not None
        self.asked = None
        self.connection.close()
        self._begin_anew()

    def close(self) -> None:
        """Close the connection, also with an append that waits for a writer closed later."""
        if self.asked is not None:
            self.connection.cancel_safe()
        self._thread.shutdown()
        self.connection.close()

    def _begin_anew(self) -> None:
        self.connection = psycopg.connect(self._url, options="-c deadlock_timeout=50ms")
        self.pending, self.savepoints = {}, []

    def _version(self, stream: str) -> int:
        return len(self.committed.get(stream, [])) + len(self.pending.get(stream, []))


def settle(writers: Sequence[Writer], admin: psycopg.Connection[Any]) -> None:
    """Wait until each append is through, or waits for a transaction that waits for nobody; compare those through."""
    while waiting := [writer for writer in writers if writer.asked is not None]:
        wait_until(lambda: _through(waiting) or _all_wait(waiting, admin), what="appends", timeout=60)
        through = _through(waiting)
        if not through:
            return
        for writer in through:
            writer.compare()


def _through(writers: Sequence[Writer]) -> list[Writer]:
    return [writer for writer in writers if writer.asked and writer.asked.result.done()]


def _all_wait(writers: Sequence[Writer], admin: psycopg.Connection[Any]) -> bool:
    blockers: dict[int, list[int]] = dict(admin.execute(_BLOCKED, ([writer.pid for writer in writers],)).fetchall())
    return all(_ends_outside(pid, blockers) for pid in blockers)


def _ends_outside(pid: int, blockers: dict[int, list[int]]) -> bool:
    """Whether a chain of waiting writers ends at one that waits for nobody: otherwise it is a deadlock, or none."""
    seen: set[int] = set()
    found = set(blockers[pid])
    while found - seen:
        seen |= (new := found - seen)
        found = {blocker for other in new for blocker in blockers.get(other, [])}
    return any(other not in blockers for other in seen)
