"""The sessions of subscriptions that read alone, because they are behind the shared reader: a few for each database.

Any number of subscriptions may be behind at the same time. Each takes one of these sessions for its reads, and leaves
it when it has caught up. While all are taken, the session of a subscription that has not read for a second goes to the
next one; its owner opens another one later.
"""

import threading
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from eventkit.forks import never_free, reset_in_fork
from eventkit.storage.subscriptions.live_log import Log

MOST = 8  # sessions
_IDLE = 1.0  # seconds without a read after which a session may be taken away


class _Lone:
    """A subscription's session, and when it was used."""

    __slots__ = ("log", "reads", "used_at")

    def __init__(self) -> None:
        self.log: Log | None = None
        self.reads = True
        self.used_at = 0.0

    def close(self) -> None:
        if self.log is not None:
            self.log.close()


class LoneLogs:
    """The sessions for one database; safe to use by any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_owner: WeakKeyDictionary[object, _Lone] = WeakKeyDictionary()
        reset_in_fork(self)

    def borrow(self, owner: object, open_log: Callable[[], Log]) -> Log | None:
        """Return the owner's log for one read, opened if it has none; None while all sessions are in use."""
        with self._lock:
            lone, idlest = self._by_owner.get(owner), None
            if lone is None and len(self._by_owner) >= MOST and (idlest := self._take_idlest()) is None:
                return None
            if lone is None:
                lone = self._by_owner[owner] = _Lone()
            lone.reads = True
        if idlest is not None:
            idlest.close()
        if lone.log is None:
            self._open(owner, lone, open_log)
        return lone.log

    def give_back(self, owner: object) -> None:
        """End a read: the session may now go to another subscription."""
        with self._lock:
            if (lone := self._by_owner.get(owner)) is not None:
                lone.reads, lone.used_at = False, time.monotonic()

    def leave(self, owner: object) -> None:
        """Close the owner's session, if it has one."""
        with self._lock:
            lone = self._by_owner.pop(owner, None)
        if lone is not None:
            lone.close()

    def forked(self) -> None:
        """Drop the parent's sessions in the child without closing them."""
        for lone in self._by_owner.values():
            never_free(lone)
        self._lock, self._by_owner = threading.Lock(), WeakKeyDictionary()

    def _open(self, owner: object, lone: _Lone, open_log: Callable[[], Log]) -> None:
        try:
            lone.log = open_log()
        except BaseException:
            self.leave(owner)
            raise
        with self._lock:
            has_left = self._by_owner.get(owner) is not lone  # it was closed by another thread meanwhile
        if has_left:
            lone.close()
            lone.log = None

    def _take_idlest(self) -> _Lone | None:
        last = time.monotonic() - _IDLE
        idle = [(lone.used_at, id(owner), owner) for owner, lone in self._by_owner.items() if not lone.reads]
        return self._by_owner.pop(min(idle)[2]) if idle and min(idle)[0] <= last else None
