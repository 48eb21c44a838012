"""Acknowledgements, some at a time: the next go when the broker has read those before, which a receipt tells.

A broker that is sending reads nothing, so thousands of small frames would fill the buffer of its socket. A full buffer
drops whatever comes, and with it the acknowledgements of TCP for what it sends itself: both ends then wait for their
timers, for seconds and minutes.
"""

import time
from collections import deque
from collections.abc import Iterable

from eventkit.transports.activemq.connection import Connection
from eventkit.transports.activemq.frames import frame

_MANY = 200  # some 20 kB


class Acknowledgements:
    """One subscription's; used by one thread, `may_go_on` by any."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[str] = deque()
        self._sent = 0  # since the last receipt
        self._receipt: str | None = None  # that is waited for

    def add(self, acks: Iterable[str]) -> None:
        """Take them over."""
        self._waiting.extend(acks)

    @property
    def is_clear(self) -> bool:
        """Whether all were sent."""
        return not self._waiting

    @property
    def may_go_on(self) -> bool:
        """Whether some wait, and nothing hinders them."""
        return bool(self._waiting) and (self._receipt is None or not self._connection.missing([self._receipt]))

    def go_on(self) -> None:
        """Send the next, if it is their turn; only the last of many asks for a receipt, which delays what follows."""
        if not self.may_go_on:
            return
        if self._receipt is not None:
            self._connection.forget([self._receipt])
            self._receipt, self._sent = None, 0
        some = [self._waiting.popleft() for _ in range(min(_MANY - self._sent, len(self._waiting)))]
        self._sent += len(some)
        headers = [{"id": ack} for ack in some]
        if self._sent == _MANY:
            self._receipt = headers[-1]["receipt"] = self._connection.next_receipt()
        self._connection.write([frame("ACK", each) for each in headers])

    def finish(self, timeout: float) -> None:
        """Send all, as far as there is time."""
        deadline = time.monotonic() + timeout
        self.go_on()
        while self._waiting and self._receipt and self._connection.has(self._receipt, deadline - time.monotonic()):
            self.go_on()
