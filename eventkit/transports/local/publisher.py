"""Publishes to a broker in this process: nothing is queued, so every report is known when `send` returns."""

import time
from collections.abc import Sequence

from eventkit.domain.message import Message
from eventkit.transports.base import Reports
from eventkit.transports.local.broker import MISSING, Broker


class LocalPublisher:
    """See `Publisher`: what `send` takes is at once where every group finds it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._verdict = Reports()
        self._confirmed: list[int] = []

    def send(self, messages: Sequence[Message]) -> None:
        """Take messages up to the first that fails."""
        with self._broker.changed:
            for message in messages:
                if self._verdict.failed or self._fails(message):
                    break
                self._broker.append(message)
                self._confirmed.append(message.tag)
            self._broker.changed.notify_all()

    def reports(self, timeout: float) -> Reports:
        """Return what became of what was sent: it is known at once."""
        if not (self._confirmed or self._verdict.failed):
            time.sleep(timeout)
        return self._take()

    def abandon(self) -> Reports:
        """Return the last word."""
        return self._take()

    def close(self, timeout: float) -> Reports:  # noqa: ARG002 nothing is queued
        """Return the last reports."""
        return self._take()

    def _fails(self, message: Message) -> bool:
        broker, verdict = self._broker, self._verdict
        verdict.lost = broker.lost
        held = broker.held.get(message.topic) if message.topic in broker.topics else MISSING
        if held:
            verdict.held[message.topic] = held
        elif not verdict.lost and (reason := broker.refusal(message)):
            verdict.refused[message.tag] = reason
        return verdict.failed

    def _take(self) -> Reports:
        confirmed, self._confirmed = self._confirmed, []
        return Reports(confirmed, dict(self._verdict.refused), dict(self._verdict.held), self._verdict.lost)
