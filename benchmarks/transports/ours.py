"""eventkit's transport seam, as the relay and the projectors use it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

from benchmarks.transports.contestant import DEADLINE, Place
from eventkit.domain.message import Message
from eventkit.projection.run.sources import LIMIT, RECEIVE_WAIT
from eventkit.transports import open_transport

_PAGE = 10_000  # as the relay reads them


class Client:
    """See `Contestant`."""

    def __init__(self, place: Place) -> None:
        """Connect in the background."""
        self._topic = place.topic
        self._transport = open_transport(place.url)
        self._publisher = self._transport.publisher()

    def publish(self, messages: Sequence[Message]) -> None:
        """Send by pages."""
        left = len(messages)
        for start in range(0, len(messages), _PAGE):
            self._publisher.send(messages[start : start + _PAGE])
            left -= self._confirmed(0)
        while left:
            confirmed = self._confirmed(DEADLINE)
            if not confirmed:
                raise TimeoutError(f"{left} messages were not confirmed in {DEADLINE:g} s")
            left -= confirmed

    def consume(self, count: int, began: Callable[[], None], open_: ExitStack) -> None:
        """Receive by batches, and acknowledge each."""
        subscription = open_.enter_context(closing(self._transport.subscribe([self._topic], self._topic)))
        left = count
        while left > 0:
            batch = subscription.receive(LIMIT, RECEIVE_WAIT if left < count else DEADLINE)
            if batch and left == count:
                began()
            subscription.acknowledge(batch)
            left -= len(batch)

    def _confirmed(self, timeout: float) -> int:
        reports = self._publisher.reports(timeout)
        if reports.failed:
            raise RuntimeError(f"the publisher failed: {reports}")
        return len(reports.confirmed)
