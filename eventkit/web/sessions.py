"""The page's sessions with PostgreSQL: a few that can only read, and one for each action.

A hung server blocks a thread for each of these sessions. Other visitors get an error after five seconds, and at once
while that error is new.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from eventkit.config import Settings
from eventkit.errors import DatabaseUnavailable
from eventkit.storage.db import connect, database_errors

Session = psycopg.Connection[Any]

_COUNT = 4  # sessions for reading, and as many for actions
BUSY_AFTER = 5.0  # seconds to wait for another visitor's session or answer
_READING = {"default_transaction_read_only": "on", "statement_timeout": "5s"}
_ACTING = {"lock_timeout": "10s", "statement_timeout": "60s"}


class Slots:
    """Limits how many sessions wait for PostgreSQL at once."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(_COUNT)
        self._busy_until = 0.0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a slot; raise DatabaseUnavailable if none is free within five seconds, or was not a moment ago."""
        wait = 0.0 if time.monotonic() < self._busy_until else BUSY_AFTER
        if not self._free.acquire(timeout=wait):
            if wait:
                self._busy_until = time.monotonic() + BUSY_AFTER
            raise busy(f"{_COUNT} sessions")
        try:
            yield
        finally:
            self._free.release()


def busy(waiting: str) -> DatabaseUnavailable:
    """Return the error for a server that hangs; `waiting` are those that have waited for it."""
    return DatabaseUnavailable(
        f"PostgreSQL has not answered the page's {waiting} for {BUSY_AFTER:g} s: it hangs, or is slow"
    )


class Sessions:
    """Opens sessions when they are needed, and keeps those for reading."""

    def __init__(self, settings: Settings) -> None:
        self.schema = settings.schema
        self._url = settings.require_database()
        self._free: list[Session] = []
        self._reading = Slots()
        self._acting = Slots()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Lend a session that cannot write; raise DatabaseUnavailable if none is free within five seconds."""
        with self._reading.taken():
            session = self._kept() or connect(
                self._url, name="web", schema=self.schema, autocommit=True, options=_READING
            )
            try:
                with database_errors():
                    yield session
            except BaseException:
                session.close()
                raise
            self._free.append(session)

    @contextmanager
    def acting(self) -> Iterator[Session]:
        """Open a session for one action; raise DatabaseUnavailable if too many wait for PostgreSQL."""
        with (
            self._acting.taken(),
            connect(self._url, name="web action", schema=self.schema, autocommit=True, options=_ACTING) as session,
            database_errors(),
        ):
            yield session

    def close(self) -> None:
        """Close the sessions that are free."""
        while self._free:
            self._free.pop().close()

    def _kept(self) -> Session | None:
        """Return a free session that still works."""
        while self._free:
            session = self._free.pop()
            try:
                session.execute("")
            except psycopg.Error:
                session.close()
            else:
                return session
        return None
