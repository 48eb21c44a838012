"""The relay's publisher through its failures.

Any error ends a publisher, and the next begins where nothing is settled.
"""

from collections import deque
from collections.abc import Callable, Sequence

from eventkit.domain.message import Message
from eventkit.transports import Publisher, Reports, Transport

# Once an event was refused, others may follow: so many publishers are built ahead, for one takes half a second until it
# may send, and events of other streams wait for it.
_SPARE = 3


class PublisherLifecycle:
    """Holds the one publisher in use, built ahead of its first message."""

    def __init__(self, transport: Transport) -> None:
        """Build a publisher; it connects in the background."""
        self._transport = transport
        self._current: Publisher | None = transport.publisher()
        self._spare: deque[Publisher] = deque()

    @property
    def publisher(self) -> Publisher:
        """Return the publisher in use, or a new one."""
        if self._current is None:
            self._current = self._spare.popleft() if self._spare else self._transport.publisher()
        return self._current

    def abandon(self, failure: Reports) -> Reports:
        """Give the publisher up and return the whole story: what it had said and its last word."""
        if self._current is None:
            return failure
        last, self._current = self._current.abandon(), None
        if failure.refused or last.refused:
            while len(self._spare) < _SPARE:
                self._spare.append(self._transport.publisher())
        return Reports(
            confirmed=[*failure.confirmed, *last.confirmed],
            refused={**failure.refused, **last.refused},
            held={**failure.held, **last.held},
            lost=failure.lost or last.lost,
        )

    def deliver(self, messages: Sequence[Message], check: Callable[[], None]) -> Reports:
        """Send and wait until every message is accounted for or the publisher has failed; then it is given up."""
        publisher = self.publisher
        publisher.send(messages)
        confirmed: list[int] = []
        while len(confirmed) < len(messages):
            check()
            reports = publisher.reports(0.5)
            confirmed += reports.confirmed
            if reports.failed:
                reports.confirmed = confirmed
                return self.abandon(reports)
        return Reports(confirmed=confirmed)

    def close(self) -> list[int]:
        """Close; return what was acknowledged in the end. What was not will be sent again."""
        while self._spare:
            self._spare.popleft().close(0)
        if self._current is None:
            return []
        last, self._current = self._current.close(1.0), None
        return last.confirmed
