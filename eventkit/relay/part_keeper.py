"""Holds this process's share of the parts while the relay works on them.

A thread renews the leases, looks at who is alive, takes free parts that are this process's share, and names the parts
to leave. The relay stops its work on a part before the thread gives up the part's lease: `next_parts` hands it over.
"""

import logging
import random
import threading
import time

import psycopg

from eventkit.errors import Deposed, StorageError
from eventkit.observability import metrics
from eventkit.observability.liveness import waiting_for
from eventkit.relay.fair_share import fair_share
from eventkit.storage.outbox import (
    LEASE_RENEWAL,
    LEASE_SECONDS,
    LeaseRow,
    LeaseState,
    PartLeases,
    Parts,
    Standing,
    awaited_leases,
    lease_name,
)
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.lease")

_LOOK_INTERVAL = 0.5  # seconds between looks at the other processes
_LOCK_WAIT = 1.0  # seconds that a process without parts waits for the end of a holder, before it looks again
_MAX_NAMED = 8  # leases in a line of the log


class PartKeeper:
    """The parts of one run of the relay."""

    def __init__(self, part_leases: PartLeases, stop: Stop) -> None:
        self._leases = part_leases  # used by the thread, after `start`
        self._stop = stop
        self._deadline = 0.0  # of all leases, on the monotonic clock
        self._renew_at = 0.0
        self._held: dict[int, int] = {}  # part -> epoch; changed by the thread
        self._leaving: frozenset[int] = frozenset()  # parts that are to go to other processes
        self._given_up: frozenset[int] = frozenset()  # of them: the relay works on them no more
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._error: BaseException | None = None
        self._reported_standby = False
        self._blocked: dict[int, int] = {}  # part -> the session that kept its lock at the last look
        self._reported_blocked: dict[int, int] = {}
        self._thread = threading.Thread(target=self._keep, name="relay leases", daemon=True)

    @property
    def of(self) -> int:
        """The number of parts; 0 before the start."""
        return self._leases.of

    @property
    def parts(self) -> Parts:
        """The parts that this process holds."""
        return Parts(dict(self._held), self._leases.of)

    def start(self) -> None:
        """Join the relay processes, and begin to take parts."""
        self._note_renewal(self._leases.join())
        awaited_leases.add(self)
        for part in range(self.of):
            metrics.LEASE_HELD.set(0, lease_name(part, self.of))
        self._thread.start()

    def states(self) -> list[LeaseState]:
        """Return the leases that are held, some of many; without any, the one that is waited for."""
        held, is_held = self.parts.leases(), self._error is None and time.monotonic() < self._deadline
        if held:
            return [LeaseState(name, epoch, is_held) for name, epoch in sorted(held.items())[:_MAX_NAMED]]
        return [LeaseState(lease_name(0, 1) if self.of == 1 else f"one of {self.of} relay parts", 0, is_held=False)]

    def next_parts(self) -> Parts | None:
        """Hand over the parts to leave, then return the parts to work on; wait until there are some, or return None.

        The caller has nothing in flight. None: the stop was requested.
        """
        with self._changed:
            self._given_up = self._leaving
            self._wake.set()
            with waiting_for("the lease"):
                return self._await_parts()

    def _await_parts(self) -> Parts | None:
        while not self._stop.is_set():
            self.check()
            if self._held and not self._given_up:
                return self.parts
            self._changed.wait(0.2)
        return None

    def check(self) -> None:
        """Raise Deposed when the leases have expired by this process's own clock, or one was lost."""
        if self._error is not None and not isinstance(self._error, StorageError | Deposed):
            raise self._error
        if self._error is not None or time.monotonic() >= self._deadline:
            reason = self._error or "not renewed in time"
            raise Deposed(f"the leases of this relay process are lost: {reason}; another one may hold them now")

    def is_changed(self, parts: Parts) -> bool:
        """Return whether the relay must end its work on exactly these parts, because some came or are to go."""
        return bool(self._leaving) or len(self._held) != len(parts.epochs) or self._held != parts.epochs

    def close(self) -> None:
        """Give up all leases, so that others can take them at once; never raise, and wait for two seconds at most."""
        self._ending.set()
        self._wake.set()
        awaited_leases.discard(self)
        for name in self.parts.leases():
            metrics.LEASE_HELD.set(0, name)
        if self._thread.ident is None:
            self._leases.leave(Parts())
        else:
            self._thread.join(timeout=2.0)  # the database hangs: the leases expire

    def _keep(self) -> None:
        try:
            while not self._ending.is_set():
                self._wake.clear()
                standing = self._step()
                if not self._ending.is_set():
                    self._pause(standing)
        except (StorageError, Deposed, psycopg.Error) as error:  # also a primary that has become a standby
            logger.warning("the leases of this relay process could not be kept: %s", error)
            self._fail(error)
        except BaseException as error:  # noqa: BLE001 `check` raises it in the relay's thread
            self._fail(error)
        finally:
            self._ending.wait()  # the relay notices a failure, and stops its work first
            self._leases.leave(self.parts)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _step(self) -> Standing | None:
        """Renew, hand over, take; return who holds the other parts."""
        if time.monotonic() >= self._renew_at:
            self._note_renewal(self._leases.renew(self.parts))
        if self._given_up:
            self._hand_over(self._given_up)
        if self._leases.of == 1 and self._held:
            return None  # one part cannot be shared
        standing = self._leases.look()
        self._refuse_loss(standing)
        share = fair_share(standing.holders, standing.members, self._leases.number)
        taken = {} if share.take and self._stop.is_set() else self._leases.take(share.take, standing)
        for part, epoch in taken.items():
            metrics.LEASE_HELD.set(1, lease_name(part, self.of))
            metrics.LEASE_EPOCH.set(epoch, lease_name(part, self.of))
        self._report_blocked({part: standing.rows[part].next_session for part in share.take if part not in taken})
        if taken:
            logger.info("holding %s", _named(Parts(taken, self._leases.of), self._leases.of))
        with self._changed:
            self._held = self._held | taken  # a new object: the relay's thread reads it without a lock
            self._leaving = frozenset(share.leave)
            self._changed.notify_all()
        return standing

    def _report_blocked(self, missed: dict[int, int | None]) -> None:
        """Name the sessions that keep the lock of a free part at two looks: at one, another relay may be taking it."""
        found = {part: session for part, session in missed.items() if session is not None}
        for part, session in found.items():
            if self._blocked.get(part) == session != self._reported_blocked.get(part):
                logger.warning(
                    "%s is free, but session %d holds its lock, so that no relay can take it: end the session with "
                    "`select pg_terminate_backend(%d)`",
                    *(lease_name(part, self.of), session, session),
                )
                self._reported_blocked[part] = session
        self._blocked = found

    def _refuse_loss(self, standing: Standing) -> None:
        for part, epoch in self._held.items():
            if standing.rows[part].epoch != epoch:
                raise Deposed(f"{standing.rows[part].owner} has taken {standing.rows[part].name}")

    def _hand_over(self, parts: frozenset[int]) -> None:
        given = Parts({part: self._held[part] for part in parts}, self._leases.of)
        with self._changed:
            self._held = {part: epoch for part, epoch in self._held.items() if part not in parts}
        self._leases.release(given)
        for name in given.leases():
            metrics.LEASE_HELD.set(0, name)
        logger.info("leaving %s to another relay process", _named(given, self._leases.of))
        with self._changed:
            self._given_up = self._leaving = frozenset()
            self._changed.notify_all()

    def _pause(self, standing: Standing | None) -> None:
        until_renewal = max(0.0, self._renew_at - time.monotonic())
        others = [row for row in standing.rows.values() if row.is_held] if standing else []
        if standing is None:
            self._wake.wait(until_renewal)
        elif self._held or not others:
            self._wake.wait(min(_LOOK_INTERVAL, until_renewal, _until_expiry(others)))
        else:
            self._stand_by(others, until_renewal)

    def _stand_by(self, others: list[LeaseRow], until_renewal: float) -> None:
        """Wait for the end of one of the holders; processes that wait for different ones see each end at once."""
        row = random.choice(others)  # noqa: S311 no secret
        if not self._reported_standby:
            logger.info("standing by: %s holds %s, epoch %d", row.owner, row.name, row.epoch)
            self._reported_standby = True
        self._leases.wait_for_end(row, min(_LOCK_WAIT, until_renewal, _until_expiry(others)))

    def _note_renewal(self, sent: float) -> None:
        self._deadline = sent + LEASE_SECONDS
        self._renew_at = sent + LEASE_RENEWAL


def _until_expiry(rows: list[LeaseRow]) -> float:
    return max(0.01, min((row.left for row in rows), default=LEASE_SECONDS))


def _named(parts: Parts, of: int) -> str:
    names = [f"{name}, epoch {epoch}" for name, epoch in sorted(parts.leases().items())]
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return "; ".join(names[:_MAX_NAMED]) + more + (f" ({len(names)} of {of} parts)" if of > 1 else "")
