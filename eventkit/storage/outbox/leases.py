"""Leases: one holder a name, numbered by epochs, so the late writes of a deposed holder are refused.

The holder of epoch n holds the session advisory lock (lease, n). A standby waits for that lock, a second at a time, or
for the row's expiry on the database's clock. Then, in one transaction, it takes lock n+1 and sets the epoch from n to
n+1. So a killed holder is replaced at once, because its lock ends with its connection, and a hung one at its expiry. No
process has to be terminated.

A holder stops at its first failed renewal, at its first refused write, or at its own monotonic deadline, counted from
before the renewal was sent. It may take itself for the holder a moment too long. That causes duplicates, but no wrong
write: the relay's and the timers' writes check the epoch in their statement (`Settlement` in `settlement`, `timers`),
and a projector's are guarded by checkpoints and by positions that never go back.

The timers and a projector that reads the store hold a `Lease`. The relay holds one for each part (`part_leases`).
"""

import logging
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from weakref import WeakSet

import psycopg

from eventkit.errors import Deposed, StorageError
from eventkit.observability import metrics
from eventkit.observability.liveness import waiting_for
from eventkit.observability.log_fields import extra
from eventkit.storage.db import database_errors, in_schema, plain_array, text_array

logger = logging.getLogger("eventkit.lease")

SECONDS = 8.0  # a lease's duration without renewal
RENEWAL = 3.0  # seconds between renewals
_LOCK_TIMEOUT = "1s"  # of a standby, before it checks the expiry again

_CREATE = """insert into {s}.leases (name, epoch, owner, expires_at) values (%(name)s, 0, '', '-infinity')
             on conflict do nothing"""
_READ = "select epoch, expires_at <= clock_timestamp(), owner from {s}.leases where name = %(name)s"
_TAKE = """update {s}.leases set epoch = %(epoch)s + 1, owner = %(owner)s, taken_at = clock_timestamp(),
                   expires_at = clock_timestamp() + %(seconds)s * interval '1 s'
            where name = %(name)s and epoch = %(epoch)s"""
_RENEW = """update {s}.leases set expires_at = clock_timestamp() + %(seconds)s * interval '1 s'
             where name = %(name)s and epoch = %(epoch)s"""
_RELEASE = "update {s}.leases set expires_at = clock_timestamp() where name = %(name)s and epoch = %(epoch)s"

# A process takes the lock of the next epoch and the lease's row in one statement. A session that holds the lock for
# longer is a stuck one, or none of eventkit's: no process can take the lease.
_HOLDERS = """select f.name, k.pid, coalesce(a.application_name, ''), a.backend_start
  from unnest(%(names)s::text[], %(classes)s::int[]) f(name, class)
  left join {s}.leases l on l.name = f.name
  join pg_locks k on k.locktype = 'advisory' and k.objsubid = 2 and k.granted and k.pid <> pg_backend_pid()
   and k.classid::bigint = f.class::bigint & 4294967295
   and k.objid::bigint = (coalesce(l.epoch, 0)::bigint + 1) & 4294967295
   and k.database = (select oid from pg_database where datname = current_database())
  left join pg_stat_activity a on a.pid = k.pid"""


class LeaseState(NamedTuple):
    """A lease that this process holds or waits for."""

    name: str
    epoch: int  # 0 while it was never held
    is_held: bool


class LockHolder(NamedTuple):
    """A session that prevents a lease from being taken."""

    pid: int
    application: str  # its application_name
    connected_at: datetime | None  # None where this user may not see it


class LeaseHolder(Protocol):
    """Holds leases of this process, or waits for them."""

    def states(self) -> list[LeaseState]:
        """Return the leases; called by any thread."""


awaited_leases: WeakSet[LeaseHolder] = WeakSet()
"""All that hold or wait for leases in this process."""


def lease_states() -> list[LeaseState]:
    """Return the leases that this process holds or waits for, by name."""
    return sorted(state for holder in list(awaited_leases) for state in holder.states())


def lock_class(schema: str, name: str) -> int:
    """Return the first number of a lease's advisory locks; the second one is the epoch."""
    return zlib.crc32(f"eventkit {schema} {name}".encode()) - 2**31  # int4


class Lease:
    """One process's claim to a name, on an autocommit connection that is its alone."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, name: str, owner: str) -> None:
        self.name = name
        self.epoch = 0
        self._connection = connection
        self._schema = schema
        self._owner = owner
        self._deadline = 0.0
        self._ended = threading.Event()
        self._renewer: threading.Thread | None = None
        self._lock_class = lock_class(schema, name)

    def acquire(self, stopped: Callable[[], bool]) -> bool:
        """Wait until this process is the holder; return False when `stopped` before."""
        awaited_leases.add(self)
        metrics.LEASE_HELD.set(0, self.name)
        with waiting_for("the lease"), database_errors():
            self._execute(_CREATE)
            reported = False
            while not stopped():
                epoch, expired, owner = self._read()
                if epoch == 0 or expired or self._lock_is_free(epoch):
                    if self._take(epoch):
                        return True
                elif not reported:
                    logger.info("standing by: %s holds %s, epoch %d", owner, self.name, epoch)
                    reported = True
        return False

    def states(self) -> list[LeaseState]:
        """Return its state."""
        return [LeaseState(self.name, self.epoch, self.is_held)]

    @property
    def is_held(self) -> bool:
        """Whether this process may act: it has the lease, and its own clock says that it has not expired."""
        return not self._ended.is_set() and time.monotonic() < self._deadline

    def check(self) -> None:
        """Raise Deposed when the lease has expired by this process's own clock, or another process has taken it."""
        if not self.is_held:
            metrics.LEASE_HELD.set(0, self.name)
            msg = f"lease {self.name!r}, epoch {self.epoch}: not renewed in time, another process may hold it now"
            raise Deposed(msg)

    def release(self) -> None:
        """End the lease, so a standby can take it at once; never raise, and wait for a second at most."""
        self._ended.set()
        awaited_leases.discard(self)
        metrics.LEASE_HELD.set(0, self.name)
        if self._renewer is not None:
            self._renewer.join(timeout=1.0)
            if self._renewer.is_alive():  # the database hangs: the lease expires
                return
        try:
            with database_errors():
                self._execute(_RELEASE)
        except StorageError:
            logger.debug("lease %s could not be released: it expires in %g s", self.name, SECONDS)
        finally:
            self._connection.close()

    def _read(self) -> tuple[int, bool, str]:
        row = self._execute(_READ).fetchone()
        return row or (0, True, "")

    def _lock_is_free(self, epoch: int) -> bool:
        """Wait a second for the current holder's lock, and release it at once; True means that the holder has ended."""
        try:
            with self._connection.transaction():
                self._connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
                self._connection.execute("select pg_advisory_xact_lock(%s::int, %s::int)", (self._lock_class, epoch))
        except psycopg.errors.LockNotAvailable:
            return False
        return True

    def _take(self, epoch: int) -> bool:
        """Take lock epoch + 1 and the row in one transaction; return False when another process was faster."""
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
        # crash point: taken, nothing read yet -> the connection's end frees the lock, the next holder takes epoch + 2
        self.epoch = epoch + 1
        self._deadline = sent + SECONDS
        self._renewer = threading.Thread(target=self._renew, name=f"lease {self.name}", daemon=True)
        self._renewer.start()
        metrics.LEASE_HELD.set(1, self.name)
        metrics.LEASE_EPOCH.set(self.epoch, self.name)
        logger.info("holding %s, epoch %d", self.name, self.epoch, extra=extra({"epoch": self.epoch}))
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
        return self._connection.execute(in_schema(statement, self._schema), params)


def lock_holders_of(connection: psycopg.Connection[Any], schema: str, leases: Sequence[str]) -> dict[str, LockHolder]:
    """Return the sessions that prevent these free leases from being taken, by lease; one look at the locks."""
    if not leases:
        return {}
    params = {"names": text_array(leases), "classes": plain_array([lock_class(schema, name) for name in leases])}
    with database_errors():
        rows = connection.execute(in_schema(_HOLDERS, schema), params).fetchall()
    return {name: LockHolder(*holder) for name, *holder in rows}
