"""One STOMP connection: frames go out from the caller's thread, what comes in is kept or handed on by the client's."""

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

logging.getLogger("stomp.py").setLevel(logging.CRITICAL)  # it logs what we raise

_CONNECT = 5.0  # seconds
ANSWER = 10.0  # seconds for a receipt: a broker that is silent for longer is taken for lost
_REFUSAL = 2.0  # seconds for the answer to a head
_TOO_LARGE = "maximum data length"
_HEAD = "SEND\ndestination:/queue/eventkit.probe\ncontent-length:{size}\n\n"
_HOLD = 1.0  # seconds between two signs that the broker is alive, while nothing is read
_SKEW = 3.0  # heartbeats that may be missed

Frame = Any  # stomp.utils.Frame, which has no types


class Connection(stomp.ConnectionListener):  # type: ignore[misc]  # no types
    """Open from the start until `end` says why it is not."""

    def __init__(
        self,
        address: ActiveAddress,
        *,
        arrived: Callable[[Frame], None] | None = None,
        answered: Callable[[], None] | None = None,
    ) -> None:
        """Connect; TransportUnavailable when nobody answers. `arrived` gets messages, `answered` hears of receipts."""
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
            timeout=_CONNECT,
            heartbeats=(beat, beat),
            heart_beat_receive_scale=_SKEW,
            auto_decode=False,
        )
        if address.tls is not None:
            self._client.set_ssl([address.place], **address.tls)
        self._client.set_listener("eventkit", self)
        self._connect()

    def send(self, command: str, headers: dict[str, str], body: bytes = b"", *, receipt: bool = False) -> str:
        """Send a frame; return the receipt's number where one is asked for."""
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
        """Send frames, all in one go."""
        transport = self._client.transport
        with self._errors():
            if transport.blocking:
                transport.send(b"".join(frames))
            elif queue := transport.send_queue:  # with TLS the client's thread writes
                queue.put(b"".join(frames))
            else:
                raise stomp.exception.NotConnectedException

    def wait(self, receipt: str) -> None:
        """Wait until a receipt has come; raise what came instead."""
        if not self.has(receipt, ANSWER):
            raise TransportUnavailable(f"no answer from ActiveMQ at {self._address.hosts} in {ANSWER:g} s")
        self.forget([receipt])

    def has(self, receipt: str, timeout: float) -> bool:
        """Wait for a receipt; return whether it has come, raise TransportUnavailable where none can come any more."""
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
        """Ask for these receipts no more."""
        with self._changed:
            self._receipts.difference_update(receipts)

    def refusal_of(self, size: int) -> str | None:
        """Return why the broker refuses a message of so many bytes; None where it does not, or does not say.

        It judges by the head, and its answer to a whole frame may be lost: it closes with the body still unread. So
        only a head is sent, and this connection is good for nothing else.
        """
        self.write([_HEAD.format(size=size).encode()])
        with self._changed:
            self._changed.wait_for(lambda: self.end, _REFUSAL)
        return self.end if self.end and _TOO_LARGE in self.end else None

    def hold(self, changed: threading.Condition, goes_on: Callable[[], bool]) -> None:
        """Read nothing more until `goes_on`; called on the client's thread, with the lock of `changed`.

        The broker waits with what it sends, which takes no memory here. Its heartbeats wait as well, so the client is
        told that it is alive.
        """
        while not (changed.wait_for(lambda: goes_on() or self.end, _HOLD) or self._closing):
            self._client.transport.notify("heartbeat")

    def close(self) -> None:
        """Say goodbye; what was not acknowledged goes to others."""
        self._closing = True
        with contextlib.suppress(Exception):
            self._client.disconnect()

    # --- what the client calls, on its thread

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
            # or each small frame waits for the answer to the one before: 40 ms, where there is none
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
    """Lend a connection."""
    connection = Connection(address)
    try:
        yield connection
    finally:
        connection.close()
