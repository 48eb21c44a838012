"""The clients of one publisher, served together: one for each limit of its topics, for a batch must stay below it."""

import math
import threading
from collections.abc import Callable

from confluent_kafka import KafkaException, Producer

_HURRY = 0.001  # seconds, the least that a client's flush waits for reports; it sends at once
_GOODBYE = 0.5  # seconds


class Producers:
    """By limit in bytes; None where it is not known. What a client raises while it is served goes to `fail`."""

    def __init__(self, make: Callable[[int | None], Producer], fail: Callable[[str], None]) -> None:
        self._make = make
        self._fail = fail
        self._made: dict[int | None, Producer] = {}

    def __len__(self) -> int:
        return len(self._made)

    def of(self, limit: int | None) -> Producer:
        """Return the client for topics with this limit."""
        if limit not in self._made:
            self._made[limit] = self._make(limit)
        return self._made[limit]

    @property
    def outstanding(self) -> int:
        """How many messages are not reported."""
        return sum(map(len, self._made.values()))

    def poll(self, seconds: float) -> None:
        """Have reports called back, waiting for the first one's; below 1 ms a client would not wait."""
        for client in tuple(self._made.values()):
            self._serve(client.poll, math.ceil(seconds * 1000) / 1000)
            seconds = 0

    def hurry(self) -> None:
        """Let nothing linger: a client sends all that it has while it is being flushed."""
        for client in tuple(self._made.values()):
            self._serve(client.flush, _HURRY)

    def purge(self) -> None:
        """Throw away what was not sent, and what was and is not acknowledged."""
        for client in self._made.values():
            client.purge(in_queue=True, in_flight=True, blocking=False)

    def leave(self, watch: threading.Thread, *, wait: bool) -> None:
        """Close all after the thread that may be using them has ended; `wait` a moment, what takes long goes on."""
        clients = list(self._made.values())
        self._made.clear()
        farewell = threading.Thread(target=_close, args=(clients, watch), name="eventkit closes clients", daemon=True)
        farewell.start()
        if wait:
            farewell.join(_GOODBYE)

    def _serve(self, call: Callable[[float], object], seconds: float) -> None:
        try:
            call(seconds)
        except KafkaException as error:
            self._fail(str(error.args[0].str()))


def _close(clients: list[Producer], watch: threading.Thread) -> None:
    watch.join()
    for client in clients:
        client.close()
