"""The producers of one publisher, polled together: one for each `max.message.bytes` of its topics.

A producer's batch size stays below that limit, so topics with different limits need different producers.
"""

import math
import threading
from collections.abc import Callable

from confluent_kafka import KafkaException, Producer

_FLUSH_TIMEOUT = 0.001  # seconds, the shortest wait of a producer's flush for reports; it sends at once
_CLOSE_TIMEOUT = 0.5  # seconds


class Producers:
    """Producers by limit in bytes, None for an unknown limit. An error raised by a poll or flush goes to `fail`."""

    def __init__(self, make: Callable[[int | None], Producer], fail: Callable[[str], None]) -> None:
        self._make = make
        self._fail = fail
        self._made: dict[int | None, Producer] = {}

    def __len__(self) -> int:
        return len(self._made)

    def of(self, limit: int | None) -> Producer:
        """Return the producer for topics with this limit."""
        if limit not in self._made:
            self._made[limit] = self._make(limit)
        return self._made[limit]

    @property
    def outstanding(self) -> int:
        """The number of messages without a report."""
        return sum(map(len, self._made.values()))

    def poll(self, seconds: float) -> None:
        """Run the delivery callbacks; wait up to `seconds` for the first. Below 1 ms a producer would not wait."""
        for client in tuple(self._made.values()):
            self._call(client.poll, math.ceil(seconds * 1000) / 1000)
            seconds = 0

    def flush(self) -> None:
        """Send queued messages now, without `linger.ms`."""
        for client in tuple(self._made.values()):
            self._call(client.flush, _FLUSH_TIMEOUT)

    def purge(self) -> None:
        """Discard the unsent and the unacknowledged messages."""
        for client in self._made.values():
            client.purge(in_queue=True, in_flight=True, blocking=False)

    def close(self, watch: threading.Thread, *, wait: bool) -> None:
        """Close all in the background, after the thread that may use them has ended; `wait` half a second for it."""
        clients = list(self._made.values())
        self._made.clear()
        closing = threading.Thread(target=_close, args=(clients, watch), name="eventkit closes clients", daemon=True)
        closing.start()
        if wait:
            closing.join(_CLOSE_TIMEOUT)

    def _call(self, call: Callable[[float], object], seconds: float) -> None:
        try:
            call(seconds)
        except KafkaException as error:
            self._fail(str(error.args[0].str()))


def _close(clients: list[Producer], watch: threading.Thread) -> None:
    watch.join()
    for client in clients:
        client.close()
