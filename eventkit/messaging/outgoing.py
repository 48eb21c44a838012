"""Send messages to a broker; report for each whether it was confirmed, or why not.

An `OutgoingQueue` has one publisher on one thread, for any number of threads and tasks; concurrent messages share a
batch. A message that is refused, or whose topic is unusable, does not fail the others: they are sent again. After a
lost connection all unconfirmed messages are sent once more, so each needs an id of its own.

Bytes bound the memory of a queue: callers wait before they encode more than 32 MB, and a batch has about 8 MB.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from math import inf
from typing import Any

import msgspec

from eventkit.domain.message import Message, total_size
from eventkit.errors import TopicUnusable, TransportError, TransportUnavailable
from eventkit.forks import reset_in_fork
from eventkit.transports.base import MAX_BYTES, Publisher, Reports

logger = logging.getLogger("eventkit.messaging")

_CONFIRM_TIMEOUT = 30.0  # seconds
_REPORT_WAIT = 1.0  # seconds of one poll for confirmations
_BATCH_LIMIT = 1_000  # calls
_MAX_HELD = 32_000_000  # bytes in a queue; callers with more wait
_CLOSE_TIMEOUT = 5.0  # seconds

Failures = dict[int, TransportError]  # by the message's index


_Call = tuple[Sequence[Message], "Future[None]"]


class Outgoing:
    """Sends batches, one after the other; used by one thread."""

    def __init__(self, publisher: Callable[[], Publisher]) -> None:
        """Open a publisher for the first message, and a new one after each failure."""
        self._open = publisher
        self._publisher: Publisher | None = None

    def send(self, messages: Sequence[Message]) -> Failures:
        """Send messages, and wait until each is confirmed; return the errors of the others."""
        left = {tag: msgspec.structs.replace(message, tag=tag) for tag, message in enumerate(messages)}
        failures: Failures = {}
        losses = 0
        while left:
            reports = self._round(list(left.values()))
            failed = _lasting_failures(reports, left)
            for tag in [*reports.confirmed, *failed]:
                left.pop(tag, None)
            failures |= failed
            losses += bool(left and not failed)
            if losses > 1:
                reason = reports.lost or "the broker does not confirm"
                return failures | dict.fromkeys(left, TransportUnavailable(_LOST.format(reason)))
        return failures

    def close(self) -> None:
        """Close the publisher."""
        if self._publisher is not None:
            self._publisher.close(_CLOSE_TIMEOUT)
            self._publisher = None

    def _round(self, messages: list[Message]) -> Reports:
        """Send with one publisher, until all messages are confirmed or it has failed."""
        publisher, self._publisher = self._publisher or self._open(), None
        try:
            return self._confirmed(publisher, messages)
        except Exception:  # it may have sent some, and its later reports would name them by index
            publisher.abandon()
            raise

    def _confirmed(self, publisher: Publisher, messages: list[Message]) -> Reports:
        publisher.send(messages)
        confirmed: list[int] = []
        deadline = time.monotonic() + _CONFIRM_TIMEOUT
        while len(confirmed) < len(messages):
            reports = publisher.reports(_REPORT_WAIT)
            confirmed += reports.confirmed
            if reports.failed or time.monotonic() > deadline:
                last = publisher.abandon()
                confirmed += [*last.confirmed]
                return Reports(
                    confirmed, reports.refused | last.refused, reports.held | last.held, reports.lost or last.lost
                )
        self._publisher = publisher
        return Reports(confirmed)


def _lasting_failures(reports: Reports, sent: dict[int, Message]) -> Failures:
    """Return the errors that sending again would not resolve."""
    held = {
        tag: TopicUnusable({message.topic: reports.held[message.topic]})
        for tag, message in sent.items()
        if message.topic in reports.held and tag not in reports.confirmed
    }
    refused = {tag: TransportError(f"the broker refuses it: {reason}") for tag, reason in reports.refused.items()}
    return {**held, **refused}


class OutgoingQueue:
    """An `Outgoing` on a thread of its own, which starts with the first message of each process.

    Callers wait for `room` before they make their messages.
    """

    def __init__(self, publisher: Callable[[], Publisher]) -> None:
        """Open publishers with `publisher`."""
        self._open = publisher
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._room = Room()
        reset_in_fork(self)

    def forked(self) -> None:
        """Start a new thread with the next message; the queued messages are the parent's."""
        self._thread, self._calls, self._starting = None, queue.SimpleQueue(), threading.Lock()
        self._room = Room()

    def wait_for_room(self, timeout: float = inf) -> float:
        """Wait while the queue is full, for at most `timeout` seconds; return how many are left."""
        deadline = time.monotonic() + timeout
        while (free := self._room.free()) is not None and (left := deadline - time.monotonic()) > 0:
            with suppress(TimeoutError):
                free.result(None if left == inf else left)
        return max(0.0, deadline - time.monotonic())

    async def wait_for_room_async(self, timeout: float = inf) -> float:  # noqa: ASYNC109 as `wait_for_room` has it
        """Wait while the queue is full, for at most `timeout` seconds; return how many are left."""
        deadline = time.monotonic() + timeout
        while (free := self._room.free()) is not None and (left := deadline - time.monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(free), None if left == inf else left)
        return max(0.0, deadline - time.monotonic())

    def send(self, messages: Sequence[Message]) -> "Future[None]":
        """Send messages; return a future that ends when all are confirmed, or with the first one's error."""
        future: Future[None] = uncancellable()
        size, room = total_size(messages), self._room
        room.take(size)
        future.add_done_callback(lambda _: room.give(size))
        self._start()
        self._calls.put((messages, future))
        return future

    def close(self) -> None:
        """Send the queued messages, and end the thread."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join(_CONFIRM_TIMEOUT)
            self._thread = None

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._calls = queue.SimpleQueue()
                self._thread = threading.Thread(
                    target=self._work, args=(self._calls,), name="eventkit sender", daemon=True
                )
                self._thread.start()

    def _work(self, calls: "queue.SimpleQueue[_Call | None]") -> None:
        outgoing, closed = Outgoing(self._open), False
        while not closed:
            batch, closed = _batch(calls)
            _send(outgoing, batch)
            del batch  # not held while the next one is waited for
        outgoing.close()


def _batch(calls: "queue.SimpleQueue[_Call | None]") -> tuple[list[_Call], bool]:
    """Wait for a call; return it with those that follow, of about 8 MB, and whether the queue is closed."""
    batch: list[_Call] = []
    size = 0
    while not batch or (len(batch) < _BATCH_LIMIT and size < MAX_BYTES and not calls.empty()):
        call = calls.get()
        if call is None:
            return batch, True
        batch.append(call)
        size += total_size(call[0])
    return batch, False


class Room:
    """The bytes that one queue may hold; a call that has taken them gives them back."""

    def __init__(self) -> None:
        self._held = 0
        self._freed: Future[None] | None = None  # ends when there is room again
        self._changed = threading.Lock()

    def free(self) -> "Future[None] | None":
        """Return None where there is room, else a future that ends when there may be."""
        with self._changed:
            if self._held < _MAX_HELD:
                return None
            self._freed = self._freed or uncancellable()
            return self._freed

    def take(self, size: int) -> None:
        """Hold these bytes."""
        with self._changed:
            self._held += size

    def give(self, size: int) -> None:
        """Give these bytes back."""
        with self._changed:
            self._held -= size
            freed = None
            if self._held < _MAX_HELD:
                freed, self._freed = self._freed, None
        if freed is not None:
            freed.set_result(None)


def uncancellable() -> "Future[Any]":
    """Return a future that cannot be cancelled: a sent message cannot be taken back."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


def _send(outgoing: Outgoing, calls: Sequence[_Call]) -> None:
    try:
        failures = outgoing.send([message for messages, _ in calls for message in messages])
    except Exception as error:  # noqa: BLE001 the callers raise it
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
