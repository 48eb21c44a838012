"""A connection on a thread of its own: what touches it runs there, one callback after the other.

pika's blocking connection confirms one message at a time (FACTS: 372 a second, this one 12,256), and it answers no
heartbeat while its user does something else.
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
logging.getLogger("pika").setLevel(logging.CRITICAL)  # it logs what we raise

_PATIENCE = 3.0  # seconds for the goodbye


class Loop:
    """Calls `opened` when it is connected and `ended` with the reason when it is not, each once and on its thread."""

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
        """Do something on the thread, soon; nothing if the connection has ended."""
        with contextlib.suppress(Exception):
            self._connection.ioloop.add_callback_threadsafe(work)

    def close(self) -> None:
        """Say goodbye, or leave the thread behind where nobody answers."""
        self._closing = True
        self.call(self._say_goodbye)
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        try:
            self._connection.ioloop.start()
        except Exception as error:  # noqa: BLE001 the thread's only way to tell
            self._end(error)

    def _say_goodbye(self) -> None:
        if self._connection.is_open:
            self._connection.close()
        elif not self._connection.is_closing:
            self._connection.ioloop.stop()

    def _end(self, error: Any) -> None:  # noqa: ANN401 pika's errors and others
        text = self._address.safe(error) or type(error).__name__
        self._ended(f"the connection to RabbitMQ at {self._address.hosts} ended: {text}")
        self._connection.ioloop.stop()
