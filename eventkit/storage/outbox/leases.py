"""Who may act: one holder per lease, numbered by epochs, so that what a deposed holder still tries to write is refused.

The holder of epoch n holds the session advisory lock (lease, n). A standby waits for that lock, a second at a time, or
for the row's expiry on the database's clock; then, in one transaction, it takes lock n+1 and sets the epoch to n+1
where it is n. So a killed holder is replaced at once (its lock goes with its connection) and a hung one when its time
is over, and nobody need be terminated.

A holder stops at its first failed renewal, at its first refused write, or at its own monotonic deadline, counted from
before the renewal was sent. It may believe in its lease for a moment longer than it has it: that makes duplicates,
never a change, since every write checks the epoch.
"""

import logging
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import psycopg

from eventkit.errors import Deposed, StorageError
from eventkit.storage.db import database_errors

logger = logging.getLogger("eventkit.lease")

SECONDS = 8.0  # how long a lease lasts without renewal
RENEWAL = 3.0  # how often it is renewed
_WAIT = "1s"  # how long a standby waits for the lock before it looks at the clock again

_CREATE = """insert into {s}.leases (name, epoch, owner, expires_at) values (%(name)s, 0, '', '-infinity')
             on conflict do nothing"""
_LOOK = "select epoch, expires_at <= clock_timestamp(), owner from {s}.leases where name = %(name)s"
_TAKE = """update {s}.leases set epoch = %(epoch)s + 1, owner = %(owner)s,
                   expires_at = clock_timestamp() + %(seconds)s * interval '1 s'
            where name = %(name)s and epoch = %(epoch)s"""
_RENEW = """update {s}.leases set expires_at = clock_timestamp() + %(seconds)s * interval '1 s'
             where name = %(name)s and epoch = %(epoch)s"""
_RELEASE = "update {s}.leases set expires_at = clock_timestamp() where name = %(name)s and epoch = %(epoch)s"


class Lease:
    """One process's claim to a name, on an autocommit connection that is its alone."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, name: str, owner: str) -> None:
        """Hold nothing yet; call `acquire`."""
        self.name = name
        self.epoch = 0
        self._connection = connection
        self._schema = f'"{schema}"'
        self._owner = owner
        self._deadline = 0.0
        self._ended = threading.Event()
        self._renewer: threading.Thread | None = None
        self._lock_class = zlib.crc32(f"eventkit {schema} {name}".encode()) - 2**31  # int4

    def acquire(self, stopped: Callable[[], bool]) -> bool:
        """Wait until this process is the holder; False when `stopped` before."""
        with database_errors():
            self._execute(_CREATE)
            told = False
            while not stopped():
                epoch, expired, owner = self._look()
                if epoch == 0 or expired or self._lock_is_free(epoch):
                    if self._take(epoch):
                        return True
                elif not told:
                    logger.info("standing by: %s holds %s, epoch %d", owner, self.name, epoch)
                    told = True
        return False

    def check(self) -> None:
        """Raise Deposed when the lease is over by this process's own clock, or was taken."""
        if self._ended.is_set() or time.monotonic() >= self._deadline:
            msg = f"lease {self.name!r}, epoch {self.epoch}: not renewed in time, another process may hold it now"
            raise Deposed(msg)

    def release(self) -> None:
        """Let a standby in at once; never raises, and waits for a second at most."""
        self._ended.set()
        if self._renewer is not None:
            self._renewer.join(timeout=1.0)
            if self._renewer.is_alive():  # the database hangs: the lease runs out by itself
                return
        try:
            with database_errors():
                self._execute(_RELEASE)
        except StorageError:
            logger.debug("lease %s could not be released, it runs out by itself", self.name)
        finally:
            self._connection.close()

    def _look(self) -> tuple[int, bool, str]:
        row = self._execute(_LOOK).fetchone()
        return row or (0, True, "")

    def _lock_is_free(self, epoch: int) -> bool:
        """Wait a second for the lock of the present holder; it is given back at once, only its end is news."""
        try:
            with self._connection.transaction():
                self._connection.execute(f"set local lock_timeout = '{_WAIT}'")
                self._connection.execute("select pg_advisory_xact_lock(%s::int, %s::int)", (self._lock_class, epoch))
        except psycopg.errors.LockNotAvailable:
            return False
        return True

    def _take(self, epoch: int) -> bool:
        """Take lock epoch + 1 and the row in one transaction; False when another was faster."""
        sent = time.monotonic()
        with self._connection.transaction():
            lock = (self._lock_class, epoch + 1)
            locked = self._connection.execute("select pg_try_advisory_lock(%s::int, %s::int)", lock).fetchone()
            if locked != (True,):
                return False
            taken = self._execute(_TAKE, epoch=epoch).rowcount == 1
            if not taken:
                self._connection.execute("select pg_advisory_unlock(%s::int, %s::int)", lock)
                return False
        # crash point: taken, nothing read yet -> the connection's end frees the lock, the next takes epoch + 2
        self.epoch = epoch + 1
        self._deadline = sent + SECONDS
        self._renewer = threading.Thread(target=self._renew, name=f"lease {self.name}", daemon=True)
        self._renewer.start()
        logger.info("holding %s, epoch %d", self.name, self.epoch)
        return True

    def _renew(self) -> None:
        while not self._ended.wait(RENEWAL):
            sent = time.monotonic()
            try:
                with database_errors():
                    renewed = self._execute(_RENEW, epoch=self.epoch).rowcount == 1
            except StorageError as error:  # also a primary that has become a standby
                logger.warning("lease %s could not be renewed: %s", self.name, error)
                renewed = False
            if not renewed:
                self._ended.set()
                return
            self._deadline = sent + SECONDS

    def _execute(self, statement: str, *, epoch: int | None = None) -> psycopg.Cursor[Any]:
        params = {
            "name": self.name,
            "owner": self._owner,
            "seconds": SECONDS,
            "epoch": self.epoch if epoch is None else epoch,
        }
        return self._connection.execute(statement.format(s=self._schema), params)
