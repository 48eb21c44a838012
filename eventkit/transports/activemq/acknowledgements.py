"""Sends acknowledgements in groups: a receipt shows that the broker has read one group, then the next is sent.

A broker does not read while it sends, so thousands of small frames would fill its socket's buffer. A full buffer drops
incoming packets, also TCP's acknowledgements for the broker's own data. Both ends then wait for their timers, for
seconds or minutes.
"""

import time
from collections import deque
from collections.abc import Iterable

from eventkit.transports.activemq.connection import Connection
from eventkit.transports.activemq.frames import frame

_MAX_IN_FLIGHT = 200  # acknowledgements before a receipt, some 20 kB


class Acknowledgements:
    """The acknowledgements of one subscription. Used by one thread; `can_send` by any."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[str] = deque()
        self._sent = 0  # since the last receipt
        self._receipt: str | None = None  # the awaited receipt

    def add(self, acks: Iterable[str]) -> None:
        """Queue the acknowledgements with these ids."""
        self._waiting.extend(acks)

    @property
    def is_clear(self) -> bool:
        """Whether all are sent."""
        return not self._waiting

    @property
    def can_send(self) -> bool:
        """Whether some wait and no receipt is missing."""
        return bool(self._waiting) and (self._receipt is None or not self._connection.missing([self._receipt]))

    def send_next(self) -> None:
        """Send the next group, if `can_send`. Only its last frame asks for a receipt, which delays later frames."""
        if not self.can_send:
            return
        if self._receipt is not None:
            self._connection.forget([self._receipt])
            self._receipt, self._sent = None, 0
        some = [self._waiting.popleft() for _ in range(min(_MAX_IN_FLIGHT - self._sent, len(self._waiting)))]
        self._sent += len(some)
        headers = [{"id": ack} for ack in some]
        if self._sent == _MAX_IN_FLIGHT:
            self._receipt = headers[-1]["receipt"] = self._connection.next_receipt()
        self._connection.write([frame("ACK", each) for each in headers])

    def finish(self, timeout: float) -> None:
        """Send all, for at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        self.send_next()
        while self._waiting and self._receipt and self._connection.has(self._receipt, deadline - time.monotonic()):
            self.send_next()
