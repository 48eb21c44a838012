"""The worker that fires deadlines: one process holds the lease `timers`, others wait for it.

    lease -> due deadlines --one statement--> events + outbox, timers deleted

A deadline is due by the database's clock. One statement deletes its row and appends its event. So each deadline fires
once, even if a process dies, or works on after its lease has expired. The worker needs none of the service's code.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg

from eventkit.errors import StorageError
from eventkit.heartbeat import Pace
from eventkit.observability import metrics
from eventkit.observability.rarely import Rarely
from eventkit.storage.db import database_errors, first_line
from eventkit.storage.outbox import Lease
from eventkit.storage.schema import refuse_moved
from eventkit.storage.timers import LEASE, DueTimers
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.timers")

# An open transaction may hold a lock for longer: its stream waits for the next attempt.
SESSION = {"lock_timeout": "500ms", "synchronous_commit": "on", "TimeZone": "UTC"}
_MIN_POLL_INTERVAL, _MAX_POLL_INTERVAL = 0.05, 0.5  # seconds; a deadline may be set during the wait


class TimersRefused(StorageError):
    """No deadline can fire: PostgreSQL refuses all of them, because of a table, a privilege or a setting."""


class TimerWorker:
    """The timers of one process."""

    def __init__(self, connect: Callable[[str], psycopg.Connection[Any]], *, schema: str, owner: str) -> None:
        """Work on `schema`; `connect` opens an autocommit connection for a purpose, `owner` names it in the lease."""
        self._connect = connect
        self._schema = schema
        self._owner = owner
        self.fired = 0  # deadlines that this process has fired
        self._pace = Pace()
        self._refused_log = Rarely(logger)

    def state(self) -> dict[str, Any]:
        """Return the state for the process's heartbeat."""
        return {"fired": self.fired, "rate": self._pace.of(self.fired)}

    def run(self, stop: Stop) -> None:
        """Wait for the lease, then fire due deadlines, until `stop` is set.

        Raise an error when the database or the lease is lost, or a table or a privilege is missing: call it again.
        """

        def work(due: DueTimers, lease: Lease) -> None:
            while not stop.is_set():
                lease.check()
                if not self._fire(due):
                    stop.wait(_pause(due.next_in()))

        self._lead(work, stop.is_set)

    def fire(self, as_of: datetime | None = None) -> int:
        """Fire the deadlines that are due now, or at the time `as_of`; return how many.

        Wait while another process holds the lease. It is meant for tests, which cannot wait for days.
        """

        def work(due: DueTimers, _: Lease) -> None:
            self._fire(due, as_of)

        before = self.fired
        self._lead(work, lambda: False)
        return self.fired - before

    def _lead(self, work: Callable[[DueTimers, Lease], None], stopped: Callable[[], bool]) -> None:
        lease_connection = self._connect("timers lease")
        lease = Lease(lease_connection, self._schema, name=LEASE, owner=self._owner)
        try:
            refuse_moved(lease_connection, self._schema)
            if lease.acquire(stopped):
                with self._connect("timers") as connection:
                    work(DueTimers(connection, self._schema, epoch=lease.epoch), lease)
        finally:
            lease.release()

    def _fire(self, due: DueTimers, as_of: datetime | None = None) -> int:
        with _refusals(), database_errors():
            fired = due.fire(as_of)
        for stream, state in due.refused.items():
            self._refused_log.warning(
                "the deadline of %s waits: PostgreSQL refuses its event (SQLSTATE %s); the others fire",
                stream,
                state,
            )
        self.fired += fired
        metrics.FIRED.add(fired)
        if fired:
            logger.info("fired %d deadlines", fired)
        return fired


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn an error about tables, privileges or settings into one that the worker waits for and retries."""
    try:
        yield
    except psycopg.Error as error:
        raise TimersRefused(
            f"no deadline can fire: {first_line(error)} (SQLSTATE {error.sqlstate}); correct that, and the worker "
            "continues"
        ) from error


def _pause(next_in: float | None) -> float:
    return _MAX_POLL_INTERVAL if next_in is None else min(max(next_in, _MIN_POLL_INTERVAL), _MAX_POLL_INTERVAL)
