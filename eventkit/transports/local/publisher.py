"""Publishes to a broker in this process: nothing is queued, so every result is known when `send` returns."""

import time
from collections.abc import Sequence

from eventkit.domain.message import Message
from eventkit.transports.base import Reports
from eventkit.transports.local.broker import MISSING, Broker


class LocalPublisher:
    """See `Publisher`: `send` appends messages at once, where every group reads them."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._results = Reports()
        self._confirmed: list[int] = []

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages up to the first that fails."""
        with self._broker.changed:
            for message in messages:
                if self._results.failed or self._fails(message):
                    break
                self._broker.append(message)
                self._confirmed.append(message.tag)
            self._broker.changed.notify_all()

    def reports(self, timeout: float) -> Reports:
        """Return the results of the sent messages, which are known at once."""
        if not (self._confirmed or self._results.failed):
            time.sleep(timeout)
        return self._take()

    def abandon(self) -> Reports:
        """Return the last results."""
        return self._take()

    def close(self, timeout: float) -> Reports:  # noqa: ARG002 nothing is queued
        """Return the last results; nothing waits."""
        return self._take()

    def _fails(self, message: Message) -> bool:
        broker, results = self._broker, self._results
        results.lost = broker.lost
        held = broker.held.get(message.topic) if message.topic in broker.topics else MISSING
        if held:
            results.held[message.topic] = held
        elif not results.lost and (reason := broker.refusal(message)):
            results.refused[message.tag] = reason
        return results.failed

    def _take(self) -> Reports:
        confirmed, self._confirmed = self._confirmed, []
        return Reports(confirmed, dict(self._results.refused), dict(self._results.held), self._results.lost)
