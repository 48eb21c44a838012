"""Writes the heartbeat of a worker process: who it is, and its counters, in one small statement every few seconds.

It has a connection and a thread of its own, so it never delays the work. While the database is away it waits and tries
again, and says so once. A clean end deletes the row. The row of a process that died or hangs is not renewed: insights
show it as gone.
"""

import importlib.metadata
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import psycopg

from eventkit.errors import DatabaseUnavailable, EventkitError, NotPrimary
from eventkit.storage.db import database_errors
from eventkit.storage.processes import Heartbeats, WorkerProcess

logger = logging.getLogger("eventkit.heartbeat")

SESSION = {"statement_timeout": "3s", "lock_timeout": "1s", "synchronous_commit": "off"}
_INTERVAL = 5.0  # seconds between two writes
_END_TIMEOUT = 1.0  # seconds that the end of the process waits for the row's deletion
_MAX_NAME = 200  # characters

State = Callable[[], dict[str, Any]]


class Heartbeat:
    """The heartbeat of one process; a context manager around its work."""

    def __init__(
        self, connect: Callable[[str], psycopg.Connection[Any]], *, schema: str, role: str, name: str, state: State
    ) -> None:
        """Write the result of `state`; it is called on another thread, and must be quick.

        `connect` opens an autocommit connection for a purpose, with the settings `SESSION`.
        """
        host, version = socket.gethostname(), importlib.metadata.version("eventkit-outbox")
        self.process = WorkerProcess(uuid4(), role, name[:_MAX_NAME], host, os.getpid(), version)
        self._connect = connect
        self._schema = schema
        self._state = state
        self._started = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._rows: Heartbeats | None = None
        self._connection: psycopg.Connection[Any] | None = None
        self._said = ""  # the last problem that was logged

    @property
    def is_alive(self) -> bool:
        """Whether it still writes, or tries to."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; the row is deleted after a clean end and after an error alike, because the process ends by itself."""
        self._ending.set()
        self._thread.join(_END_TIMEOUT)

    def _run(self) -> None:
        while True:
            if not self._attempt(self._beat):
                return
            if self._ending.wait(_INTERVAL):
                break
        self._attempt(self._end)
        self._close()

    def _attempt(self, write: Callable[[Heartbeats], None]) -> bool:
        """Write; return False where this role may never write."""
        try:
            with database_errors():
                write(self._open())
        except (DatabaseUnavailable, NotPrimary) as error:
            self._failed("the heartbeat waits, the work goes on: %s", error)
        except (EventkitError, psycopg.Error) as error:
            self._failed(
                "this process writes no heartbeat, and the page and `eventkit status` do not show it: %s", error
            )
            return not isinstance(error.__cause__ or error, psycopg.errors.InsufficientPrivilege)
        except Exception:
            logger.debug("heartbeat", exc_info=True)
            self._close()
        else:
            self._said = ""
        return True

    def _beat(self, rows: Heartbeats) -> None:
        rows.beat(self.process, age=time.monotonic() - self._started, state=self._state())

    def _end(self, rows: Heartbeats) -> None:
        rows.end(self.process.id)

    def _open(self) -> Heartbeats:
        if self._rows is None:
            self._connection = self._connect("heartbeat")
            self._rows = Heartbeats(self._connection, self._schema)
            self._rows.forget_old(self.process.role, self.process.name)
        return self._rows

    def _failed(self, sentence: str, error: Exception) -> None:
        self._close()
        if sentence != self._said:
            logger.warning(sentence, error)
        self._said = sentence

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
        self._connection = self._rows = None


class Pace:
    """Turns a growing count into a rate: events a second between two looks."""

    def __init__(self) -> None:
        self._count, self._at, self._rate = 0, time.monotonic(), 0.0

    def of(self, count: int) -> float:
        """Return the rate since the last look; a second look within a second returns the same."""
        now = time.monotonic()
        if now - self._at >= 1.0:
            self._rate = max(0, count - self._count) / (now - self._at)
            self._count, self._at = count, now
        return round(self._rate, 1)
