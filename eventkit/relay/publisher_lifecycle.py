"""The relay's publisher and its replacements.

Any error ends a publisher; the next one starts with the first unsettled event.
"""

from collections import deque
from collections.abc import Callable, Sequence

from eventkit.domain.message import Message
from eventkit.observability.liveness import waiting_for
from eventkit.relay.counters import RelayCounters
from eventkit.relay.publish_spans import PublishSpans
from eventkit.transports import Publisher, Reports, Transport

# A refused event may be followed by others. A new publisher takes half a second until it may send, and events of other
# streams wait for it, so some are opened ahead.
_SPARE_PUBLISHERS = 3


class PublisherLifecycle:
    """The publisher in use, opened ahead of its first message, and a few spare ones after a refusal."""

    def __init__(self, transport: Transport, counters: RelayCounters) -> None:
        """Open a publisher, which connects in the background; `counters` are those of the process."""
        self.counters = counters
        self._transport = transport
        self.spans = PublishSpans(transport.system)
        self._current: Publisher | None = transport.publisher()
        self._spare: deque[Publisher] = deque()

    @property
    def publisher(self) -> Publisher:
        """Return the publisher in use, or a new one."""
        if self._current is None:
            self._current = self._spare.popleft() if self._spare else self._transport.publisher()
        return self._current

    def abandon(self, failure: Reports) -> Reports:
        """Abandon the publisher; return `failure` joined with its last reports."""
        if self._current is None:
            return failure
        with waiting_for("the broker"):
            last, self._current = self._current.abandon(), None
        self.counters.count_published(len(last.confirmed))
        if failure.refused or last.refused:
            while len(self._spare) < _SPARE_PUBLISHERS:
                self._spare.append(self._transport.publisher())
        return Reports(
            confirmed=[*failure.confirmed, *last.confirmed],
            refused={**failure.refused, **last.refused},
            held={**failure.held, **last.held},
            lost=failure.lost or last.lost,
        )

    def deliver(self, messages: Sequence[Message], check: Callable[[], None]) -> Reports:
        """Send, and wait until every message is confirmed; after a failure, abandon the publisher.

        Return all reports. `check` raises when the lease has expired.
        """
        publisher = self.publisher
        self.spans.sending(messages)
        with waiting_for("the broker"):
            publisher.send(messages)
        confirmed: list[int] = []
        while len(confirmed) < len(messages):
            check()
            with waiting_for("the broker"):
                reports = publisher.reports(0.5)
            confirmed += reports.confirmed
            self.counters.count_published(len(reports.confirmed))
            self.spans.confirmed(reports.confirmed)
            if reports.failed:
                self.spans.end(reports)
                reports.confirmed = confirmed
                return self.abandon(reports)
        return Reports(confirmed=confirmed)

    def close(self) -> list[int]:
        """Close; return the positions acknowledged last. All others will be sent again."""
        while self._spare:
            self._spare.popleft().close(0)
        if self._current is None:
            return []
        last, self._current = self._current.close(1.0), None
        self.counters.count_published(len(last.confirmed))
        return last.confirmed
