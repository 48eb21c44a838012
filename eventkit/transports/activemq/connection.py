"""One STOMP connection: the caller's thread sends frames; the client's thread stores receipts and delivers messages."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import stomp

from eventkit.errors import TransportUnavailable
from eventkit.transports.activemq.address import ActiveAddress
from eventkit.transports.activemq.frames import frame

logging.getLogger("stomp.py").setLevel(logging.CRITICAL)  # it logs the errors that are raised here

_CONNECT_TIMEOUT = 5.0  # seconds
RECEIPT_TIMEOUT = 10.0  # seconds: a broker that is silent for longer counts as lost
_REFUSAL_TIMEOUT = 2.0  # seconds for the answer to the head of a frame
_TOO_LARGE = "maximum data length"
_HEAD = "SEND\ndestination:/queue/eventkit.probe\ncontent-length:{size}\n\n"
_HEARTBEAT_INTERVAL = 1.0  # seconds between two heartbeats reported to the client while reading is paused
_MISSED_HEARTBEATS = 3.0  # number after which the broker counts as lost

Frame = Any  # stomp.utils.Frame, which has no types


class Connection(stomp.ConnectionListener):  # type: ignore[misc]  # no types
    """Open from its construction until `end` has the reason why it is not."""

    def __init__(
        self,
        address: ActiveAddress,
        *,
        arrived: Callable[[Frame], None] | None = None,
        answered: Callable[[], None] | None = None,
    ) -> None:
        """Connect; TransportUnavailable when the broker does not answer.

        `arrived` is called with each message, and `answered` after each receipt, both on the client's thread.
        """
        self._address = address
        self._arrived = arrived
        self._answered = answered
        self._changed = threading.Condition()
        self._receipts: set[str] = set()
        self._number = 0
        self._closing = False
        self.server = "ActiveMQ"
        self.end: str | None = None
        beat = address.heartbeat * 1000
        self._client = stomp.Connection12(
            [address.place],
            reconnect_attempts_max=1,
            timeout=_CONNECT_TIMEOUT,
            heartbeats=(beat, beat),
            heart_beat_receive_scale=_MISSED_HEARTBEATS,
            auto_decode=False,
        )
        if address.tls is not None:
            self._client.set_ssl([address.place], **address.tls)
        self._client.set_listener("eventkit", self)
        self._connect()

    def send(self, command: str, headers: dict[str, str], body: bytes = b"", *, receipt: bool = False) -> str:
        """Send a frame; with `receipt`, ask for a receipt and return its number."""
        number = ""
        if receipt:
            number = headers["receipt"] = self.next_receipt()
        self.write([frame(command, headers, body)])
        return number

    def next_receipt(self) -> str:
        """Return a number for a frame that asks for a receipt."""
        self._number += 1
        return str(self._number)

    def write(self, frames: Sequence[bytes]) -> None:
        """Send frames in one write."""
        transport = self._client.transport
        with self._errors():
            if transport.blocking:
                transport.send(b"".join(frames))
            elif queue := transport.send_queue:  # with TLS the client's thread writes
                queue.put(b"".join(frames))
            else:
                raise stomp.exception.NotConnectedException

    def wait(self, receipt: str) -> None:
        """Wait for a receipt; TransportUnavailable when it does not come."""
        if not self.has(receipt, RECEIPT_TIMEOUT):
            raise TransportUnavailable(f"no answer from ActiveMQ at {self._address.hosts} in {RECEIPT_TIMEOUT:g} s")
        self.forget([receipt])

    def has(self, receipt: str, timeout: float) -> bool:
        """Wait up to `timeout` seconds for a receipt; return whether it came.

        TransportUnavailable when the connection has ended without it.
        """
        with self._changed:
            self._changed.wait_for(lambda: receipt in self._receipts or self.end, timeout)
            if self.end and receipt not in self._receipts:
                raise TransportUnavailable(self.end)
            return receipt in self._receipts

    def missing(self, receipts: Iterable[str]) -> str | None:
        """Return the first of these receipts that has not come."""
        with self._changed:
            return next((receipt for receipt in receipts if receipt not in self._receipts), None)

    def forget(self, receipts: Iterable[str]) -> None:
        """Remove receipts that are no longer needed."""
        with self._changed:
            self._receipts.difference_update(receipts)

    def refusal_of(self, size: int) -> str | None:
        """Return the broker's reason to refuse a message of `size` bytes; None if it accepts it, or gives no reason.

        The broker decides by the head of a frame, and its answer to a whole frame may be lost, because it closes the
        connection with the body unread. So only a head is sent, and this connection is then unusable.
        """
        self.write([_HEAD.format(size=size).encode()])
        with self._changed:
            self._changed.wait_for(lambda: self.end, _REFUSAL_TIMEOUT)
        return self.end if self.end and _TOO_LARGE in self.end else None

    def pause(self, changed: threading.Condition, can_resume: Callable[[], bool]) -> None:
        """Stop reading until `can_resume` is true; called on the client's thread, with the lock of `changed`.

        The broker then waits with its messages, which take no memory here. Its heartbeats wait too, so this method
        reports them to the client.
        """
        while not (changed.wait_for(lambda: can_resume() or self.end, _HEARTBEAT_INTERVAL) or self._closing):
            self._client.transport.notify("heartbeat")

    def close(self) -> None:
        """Disconnect; other members get the unacknowledged messages."""
        self._closing = True
        with contextlib.suppress(Exception):
            self._client.disconnect()

    # --- called by the client, on its thread

    def on_connected(self, frame: Frame) -> None:
        self.server = str(frame.headers.get("server", self.server)).replace("/", " ")

    def on_message(self, frame: Frame) -> None:
        if self._arrived:
            self._arrived(frame)

    def on_receipt(self, frame: Frame) -> None:
        with self._changed:
            self._receipts.add(frame.headers["receipt-id"])
            self._changed.notify_all()
        if self._answered:
            self._answered()

    def on_error(self, frame: Frame) -> None:
        self._ended(f"ActiveMQ at {self._address.hosts} refuses: {frame.headers.get('message', 'no reason given')}")

    def on_disconnected(self) -> None:
        self._ended(f"the connection to ActiveMQ at {self._address.hosts} ended")

    def on_heartbeat_timeout(self) -> None:
        self._ended(f"ActiveMQ at {self._address.hosts} is silent")

    def _connect(self) -> None:
        try:
            self._client.connect(self._address.user, self._address.password, wait=True)
            # without it a small frame waits for TCP's acknowledgement of the one before, for up to 40 ms
            self._client.transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (stomp.exception.StompException, OSError) as error:
            reason = self.end or self._address.obstacle() or self._address.safe(error) or type(error).__name__
            raise TransportUnavailable(f"no connection to ActiveMQ at {self._address.hosts}: {reason}") from error
        if self.end:
            raise TransportUnavailable(self.end)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (stomp.exception.StompException, OSError) as error:
            text = self.end or self._address.safe(error) or type(error).__name__
            raise TransportUnavailable(f"no connection to ActiveMQ at {self._address.hosts}: {text}") from error

    def _ended(self, reason: str) -> None:
        with self._changed:
            if not self._closing:
                self.end = self.end or self._address.safe(reason)
            self._changed.notify_all()


@contextmanager
def connected(address: ActiveAddress) -> Iterator[Connection]:
    """Open a connection for the block, then close it."""
    connection = Connection(address)
    try:
        yield connection
    finally:
        connection.close()
