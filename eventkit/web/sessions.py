"""The page's sessions with PostgreSQL: a few that can only read, and one for each action.

A hung server blocks at most the few: other visitors get an error after five seconds.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from eventkit.config import Settings
from eventkit.errors import DatabaseUnavailable
from eventkit.storage.db import connect, database_errors

Session = psycopg.Connection[Any]

_COUNT = 4  # read sessions of a process
_BUSY_AFTER = 5.0  # seconds to wait for a free one
_READING = {"default_transaction_read_only": "on", "statement_timeout": "5s"}
_ACTING = {"lock_timeout": "10s"}


class Sessions:
    """Opens sessions when they are needed, and keeps those for reading."""

    def __init__(self, settings: Settings) -> None:
        self.schema = settings.schema
        self._url = settings.require_database()
        self._free: list[Session] = []
        self._slots = threading.BoundedSemaphore(_COUNT)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Lend a session that cannot write; raise DatabaseUnavailable if none is free within five seconds."""
        if not self._slots.acquire(timeout=_BUSY_AFTER):
            raise DatabaseUnavailable(
                f"PostgreSQL has not answered the page's {_COUNT} sessions for {_BUSY_AFTER:g} s: it hangs, or is slow"
            )
        try:
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
        finally:
            self._slots.release()

    @contextmanager
    def acting(self) -> Iterator[Session]:
        """Open a session for one action."""
        with (
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
