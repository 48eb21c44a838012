"""The worker that fires deadlines: one process holds the lease `timers`, others stand by.

    lease -> due deadlines --one statement--> events + outbox, timers deleted

A deadline is due by the database's clock. Its row goes in the statement that appends its event, so whatever dies, and
whoever thinks that it still holds the lease, each fires once. It needs none of the service's code.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg

from eventkit.errors import StorageError
from eventkit.observability.rarely import Rarely
from eventkit.storage.db import database_errors, first_line
from eventkit.storage.outbox import Lease
from eventkit.storage.schema import refuse_moved
from eventkit.storage.timers import LEASE, DueTimers
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.timers")

# Nothing waits long: a lock that long belongs to an open transaction, and its stream is left for the next time.
SESSION = {"lock_timeout": "500ms", "synchronous_commit": "on", "TimeZone": "UTC"}
_SOONEST, _LATEST = 0.05, 0.5  # seconds between two looks; a deadline may be set while nobody looks


class TimersRefused(StorageError):
    """No deadline can fire: PostgreSQL refuses all of them, for a table, a right or a setting that is to be mended."""


class TimerWorker:
    """A process's timers; `connect` opens autocommit connections for a purpose, `owner` names it in the lease."""

    def __init__(self, connect: Callable[[str], psycopg.Connection[Any]], *, schema: str, owner: str) -> None:
        """Take what it works with; `run` does the work."""
        self._connect = connect
        self._schema = schema
        self._owner = owner
        self.fired = 0  # deadlines, by this process
        self._refused = Rarely(logger)

    def run(self, stop: Stop) -> None:
        """Stand by, then fire what comes due, until `stop`.

        Raises when the database or the lease is lost, and when a table or a right is missing: run it again.
        """

        def work(due: DueTimers, lease: Lease) -> None:
            while not stop.is_set():
                lease.check()
                if not self._fire(due):
                    stop.wait(_pause(due.next_in()))

        self._lead(work, stop.is_set)

    def fire(self, as_of: datetime | None = None) -> int:
        """Fire what is due, or will be by the time `as_of`, and return how many; waits while another holds the lease.

        For tests, which need not wait for three days to pass.
        """

        def work(due: DueTimers, _: Lease) -> None:
            self._fire(due, as_of)

        before = self.fired
        self._lead(work, lambda: False)
        return self.fired - before

    def _lead(self, work: Callable[[DueTimers, Lease], None], stopped: Callable[[], bool]) -> None:
        holding = self._connect("timers lease")
        lease = Lease(holding, self._schema, name=LEASE, owner=self._owner)
        try:
            refuse_moved(holding, self._schema)
            if lease.acquire(stopped):
                with self._connect("timers") as connection:
                    work(DueTimers(connection, self._schema, epoch=lease.epoch), lease)
        finally:
            lease.release()

    def _fire(self, due: DueTimers, as_of: datetime | None = None) -> int:
        with _sentences(), database_errors():
            fired = due.fire(as_of)
        for stream, state in due.refused.items():
            self._refused.warning(
                "the deadline of %s waits: PostgreSQL refuses its event (SQLSTATE %s); the others fire",
                stream,
                state,
            )
        self.fired += fired
        if fired:
            logger.info("fired %d deadlines", fired)
        return fired


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn what PostgreSQL says of tables, rights or settings into an error that is waited for."""
    try:
        yield
    except psycopg.Error as error:
        raise TimersRefused(
            f"no deadline can fire: {first_line(error)} (SQLSTATE {error.sqlstate}); it goes on when that is mended"
        ) from error


def _pause(next_in: float | None) -> float:
    return _LATEST if next_in is None else min(max(next_in, _SOONEST), _LATEST)
