"""Messages on their way to a broker, each confirmed or told why not.

An `OutgoingQueue` is one publisher on one thread, so that any number of threads and tasks may send; what they send at
the same time goes together. A message that is refused, or whose topic is unusable, takes nobody else's with it: the
others are sent again. After a lost connection everything is sent once more, so what is sent has an id of its own.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from eventkit.domain.message import Message
from eventkit.errors import TopicUnusable, TransportError, TransportUnavailable
from eventkit.forks import tell_in_fork
from eventkit.transports.base import Publisher, Reports

logger = logging.getLogger("eventkit.messaging")

_PATIENCE = 30.0  # seconds for the broker's reports
_LOOK = 1.0  # seconds of one wait for them
_BATCH = 1_000  # calls that go together
_GOODBYE = 5.0  # seconds

Failures = dict[int, TransportError]  # by the message's place


class Outgoing:
    """Sends batches, one after the other; used by one thread."""

    def __init__(self, publisher: Callable[[], Publisher]) -> None:
        """Open a publisher when it is needed, and a new one after each that has failed."""
        self._open = publisher
        self._publisher: Publisher | None = None

    def send(self, messages: Sequence[Message]) -> Failures:
        """Send all, wait until each is confirmed, and return why some are not."""
        left = {tag: msgspec.structs.replace(message, tag=tag) for tag, message in enumerate(messages)}
        failures: Failures = {}
        losses = 0
        while left:
            reports = self._round(list(left.values()))
            failed = _judged(reports, left)
            for tag in [*reports.confirmed, *failed]:
                left.pop(tag, None)
            failures |= failed
            losses += bool(left and not failed)
            if losses > 1:
                reason = reports.lost or "the broker does not confirm"
                return failures | dict.fromkeys(left, TransportUnavailable(_LOST.format(reason)))
        return failures

    def close(self) -> None:
        """Let go of the publisher."""
        if self._publisher is not None:
            self._publisher.close(_GOODBYE)
            self._publisher = None

    def _round(self, messages: list[Message]) -> Reports:
        """Send with one publisher, until all is confirmed or it has failed."""
        publisher, self._publisher = self._publisher or self._open(), None
        try:
            return self._confirmed(publisher, messages)
        except Exception:  # nobody knows what it has of these, and its reports name messages by their places
            publisher.abandon()
            raise

    def _confirmed(self, publisher: Publisher, messages: list[Message]) -> Reports:
        publisher.send(messages)
        confirmed: list[int] = []
        deadline = time.monotonic() + _PATIENCE
        while len(confirmed) < len(messages):
            reports = publisher.reports(_LOOK)
            confirmed += reports.confirmed
            if reports.failed or time.monotonic() > deadline:
                last = publisher.abandon()
                confirmed += [*last.confirmed]
                return Reports(
                    confirmed, reports.refused | last.refused, reports.held | last.held, reports.lost or last.lost
                )
        self._publisher = publisher
        return Reports(confirmed)


def _judged(reports: Reports, sent: dict[int, Message]) -> Failures:
    """Return what will not get better by sending it again."""
    held = {
        tag: TopicUnusable({message.topic: reports.held[message.topic]})
        for tag, message in sent.items()
        if message.topic in reports.held and tag not in reports.confirmed
    }
    refused = {tag: TransportError(f"the broker refuses it: {reason}") for tag, reason in reports.refused.items()}
    return {**held, **refused}


class OutgoingQueue:
    """An `Outgoing` on a thread of its own, which begins with the first message, in the process that sends it."""

    def __init__(self, publisher: Callable[[], Publisher]) -> None:
        """Use publishers that `publisher` opens."""
        self._open = publisher
        self._waiting: queue.SimpleQueue[tuple[Sequence[Message], Future[None]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        tell_in_fork(self)

    def forked(self) -> None:
        """Begin anew with the next message; what waits is the parent's."""
        self._thread, self._waiting, self._starting = None, queue.SimpleQueue(), threading.Lock()

    def send(self, messages: Sequence[Message]) -> "Future[None]":
        """Return what is done when all are confirmed, and otherwise raises the first one's error."""
        future: Future[None] = unending()
        self._start()
        self._waiting.put((messages, future))
        return future

    def close(self) -> None:
        """Send what waits, and end."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(_PATIENCE)
            self._thread = None

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._waiting = queue.SimpleQueue()
                self._thread = threading.Thread(target=self._work, args=(self._waiting,), name="post", daemon=True)
                self._thread.start()

    def _work(self, waiting: "queue.SimpleQueue[tuple[Sequence[Message], Future[None]] | None]") -> None:
        outgoing, open_ = Outgoing(self._open), True
        while open_:
            calls = [waiting.get()]
            while len(calls) < _BATCH and not waiting.empty():
                calls.append(waiting.get())
            open_ = None not in calls
            _send(outgoing, [call for call in calls if call is not None])
        outgoing.close()


def unending() -> "Future[Any]":
    """Return a future that cannot be cancelled: what was sent is sent, whoever waits no longer."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


def _send(outgoing: Outgoing, calls: Sequence[tuple[Sequence[Message], "Future[None]"]]) -> None:
    try:
        failures = outgoing.send([message for messages, _ in calls for message in messages])
    except Exception as error:  # noqa: BLE001 whoever waits is told
        for _, future in calls:
            future.set_exception(error)
        return
    start = 0
    for messages, future in calls:
        failed = [failures[place] for place in range(start, start + len(messages)) if place in failures]
        start += len(messages)
        if failed:
            future.set_exception(failed[0])
        else:
            future.set_result(None)


_LOST = "{}; whether it was taken is not known: send it again with the same ids, and handlers take it once"
