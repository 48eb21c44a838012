"""Holds streams that must wait while the other streams continue.

A stream waits for a handler's breaker (`eventkit.projection.failure.breaker`), for the next attempt at its first event,
or for a lock of another transaction. Its events stay in memory in order, with later ones behind them, and none is
acknowledged: if the process dies, the broker delivers them again. Used by one thread.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from eventkit.domain.message import Message, size_of
from eventkit.projection.batch import Arrival, Run, tidy
from eventkit.projection.dispatch import Handler, HandlerTable
from eventkit.projection.failure.breaker import Breaker, Breakers, Kind
from eventkit.storage.projections import WaitingHandler

_FIRST_PAUSE, _MAX_PAUSE = 1.0, 60.0  # seconds before a stream that fails by itself is retried
_LOCK_PAUSE = 0.5  # seconds before a locked stream is retried
_LOCKS_EXPECTED = 10.0  # seconds after a lock timeout in which more are expected
MAX_BYTES = 32_000_000  # of all waiting events; beyond it nothing more is received
MAX_NOTES = 32_000_000  # bytes of the notes on messages that wait to be acknowledged
_EVENT_OVERHEAD = 1_000  # bytes of memory for an event beside its data
_NOTE_OVERHEAD = 500  # bytes for a message, here and in the broker's client, beside its key


class EventFailure(NamedTuple):
    """An event that has failed by itself, and has attempts left."""

    reason: str  # quotes no event
    attempts: int
    since: float  # on the monotonic clock


class WaitingStream(msgspec.Struct):
    """A stream that waits, and its events so far."""

    run: Run
    handler: Handler | None  # None: it waits for a lock, or its failing event has no handler
    due: float = 0.0  # on the monotonic clock
    for_lock: bool = False  # of another transaction
    failure: EventFailure | None = None
    suspect: bool = False  # it has failed itself, so it is tried alone
    strikes: int = 0  # how often it has failed while others succeeded
    passed: int = 0  # the handler's successes at its last failure
    locked: bool = False  # it was tried and found locked, so untried streams come first


class SetAside:
    """The waiting streams of one projection in one process."""

    def __init__(
        self, handlers: HandlerTable, breakers: Breakers, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.breakers = breakers
        self.size = 0  # estimated bytes
        self._handlers = handlers
        self._clock = clock
        self._around_locks = 0.0  # until this time
        self._waiting: dict[str, WaitingStream] = {}
        self._tried: dict[str, WaitingStream] = {}  # the streams that `take` returned last
        # Delivered messages by key, to be acknowledged in this order; without values, which the runs hold if needed.
        self._unsettled: dict[str, list[Message]] = {}
        self._noted = 0  # estimated bytes of these

    def __len__(self) -> int:
        """Return the number of waiting streams."""
        return len(self._waiting)

    def __contains__(self, stream: str) -> bool:
        """Whether a stream waits."""
        return stream in self._waiting

    def sort_out(self, runs: Iterable[Run]) -> list[Run]:
        """Set aside events that must wait, also behind earlier events of their stream; return runs to apply."""
        if not self._waiting and not self.breakers:
            return list(runs)
        ready: list[Run] = []
        for run in runs:
            waiting = self._waiting.get(run.stream)
            if waiting is not None:
                self._join(waiting, run)
                continue
            before, after = self.breakers.split(run, self._handlers)
            if before is not None:
                ready.append(before)
            if after is not None:
                self.add(after, self._handler(after.arrivals[0]))
        return ready

    def add(self, run: Run, handler: Handler | None) -> None:
        """Set a run aside until `handler` can process it."""
        waiting = self._waiting.get(run.stream)
        if waiting is None:
            waiting = self._tried.pop(run.stream, None) or WaitingStream(Run(run.stream, []), handler)
            self._waiting[run.stream] = waiting
        waiting.handler, waiting.for_lock, waiting.locked = handler, False, False
        self._join(waiting, run)

    @property
    def around_locks(self) -> bool:
        """Whether locks of other transactions are expected."""
        return self._clock() < self._around_locks

    def met_lock(self) -> None:
        """Expect locks of other transactions for the next seconds."""
        self._around_locks = self._clock() + _LOCKS_EXPECTED

    def add_locked(self, run: Run, *, tried: bool = True) -> None:
        """Set a run aside for a lock of another transaction; `tried` says whether its own stream is locked."""
        self.met_lock()
        self.add(run, None)
        waiting = self._waiting[run.stream]
        waiting.for_lock, waiting.locked = True, tried
        waiting.suspect, waiting.due = False, self._clock() + _LOCK_PAUSE

    @property
    def locked(self) -> int:
        """The number of streams that wait for locks."""
        return sum(waiting.for_lock for waiting in self._waiting.values())

    @property
    def has_attempts(self) -> bool:
        """Whether a failed event has attempts left; the projector is not idle then."""
        return any(waiting.failure is not None for waiting in self._waiting.values())

    def add_failed(self, run: Run, handler: Handler | None, reason: str, *, attempts: int, pause: float) -> None:
        """Set a run aside whose first event has failed; retry it after `pause` seconds."""
        self.add(run, handler)
        waiting, now = self._waiting[run.stream], self._clock()
        since = waiting.failure.since if waiting.failure and attempts > 1 else now
        waiting.failure, waiting.suspect, waiting.due = EventFailure(reason, attempts, since), True, now + pause

    def succeeded(self, stream: str) -> None:
        """Clear the failures of a stream whose event was applied."""
        waiting = self._waiting.get(stream) or self._tried.get(stream)
        if waiting is not None and waiting.suspect:
            waiting.suspect, waiting.failure, waiting.strikes, waiting.due = False, None, 0, 0.0

    def waits(self) -> list[WaitingHandler]:
        """Return the handlers whose events wait, with reasons; streams that wait for locks are left out."""
        now, streams = self._clock(), defaultdict[Kind, list[WaitingStream]](list)
        for waiting in self._waiting.values():
            if waiting.handler is not None and not waiting.for_lock:
                streams[waiting.handler.kind].append(waiting)
        found = {
            breaker.handler.kind: _away(breaker, streams[breaker.handler.kind], now)
            for breaker in self.breakers.failing
            if breaker.is_open or breaker.handler.kind in streams
        }
        for kind, theirs in streams.items():
            failed = min((each for each in theirs if each.failure), key=lambda each: each.due, default=None)
            if failed is not None and kind not in found:
                found[kind] = _failing(failed, len(theirs), now)
        return list(found.values())

    def failed(self, stream: str, *, pause: float | None = None) -> int:
        """Delay a stream that has failed itself; return how often it has failed while others succeeded.

        `pause` is in seconds; without it, the pause follows from that count.
        """
        waiting = self._waiting.pop(stream)
        self._waiting[stream] = waiting  # to the end, so that another stream is tried first
        passed = self.breakers.passed(waiting.handler.kind) if waiting.handler else 0
        if waiting.suspect and passed > waiting.passed:
            waiting.strikes += 1
        waiting.suspect, waiting.passed = True, passed
        waiting.due = self._clock() + (min(_FIRST_PAUSE * 2**waiting.strikes, _MAX_PAUSE) if pause is None else pause)
        return waiting.strikes

    @property
    def is_full(self) -> bool:
        """Whether too many bytes wait to receive more messages."""
        return self.size > MAX_BYTES or self._noted > MAX_NOTES

    def take(self, most: int) -> list[Run]:
        """Return the next runs to try, of at most `most` events in all; none if no stream is due.

        While a breaker is open, one stream is tried. A stream that has failed itself is tried alone. Locked streams
        come last.
        """
        self._tried.clear()
        runs: list[Run] = []
        for waiting in sorted(self._waiting.values(), key=_is_locked):
            kind = waiting.handler.kind if waiting.handler else None
            if waiting.due > self._clock() or (kind and not self.breakers.is_due(kind)):
                continue
            alone = waiting.suspect or (kind and self.breakers.is_open(kind)) or not waiting.run.whole
            if alone and runs:
                continue
            runs.append(self._take(waiting, 1 if alone else most))
            most -= len(runs[-1].arrivals)
            if alone or most <= 0:
                break
        return runs

    def drop(self, stream: str) -> Run:
        """Remove a stream; return its events."""
        run = self._waiting.pop(stream).run
        self.size -= _size(run.arrivals)
        return run

    def floor(self, position: int) -> int:
        """Return the position up to which all events are applied, given the position up to which they were read."""
        first = [run.arrivals[0].position for run in (waiting.run for waiting in self._waiting.values())]
        return min([position, *(place - 1 for place in first if place is not None)])

    def hold(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the messages to acknowledge now; the others wait for their streams."""
        keys = {waiting.run.arrivals[0].message.key for waiting in self._waiting.values()}
        if not keys and not self._unsettled:
            return messages
        settled: list[Message] = []
        for key in [key for key in self._unsettled if key not in keys]:
            settled += self._unsettled.pop(key)
        self._noted -= sum([_size_of_note(message) for message in settled])
        for message in messages:
            if message.key in keys:
                note = Message(
                    message.topic, message.key, b"", message.headers, message.tag
                )  # a reply needs the headers
                self._unsettled.setdefault(message.key, []).append(note)
                self._noted += _size_of_note(note)
            else:
                settled.append(message)
        return settled

    def _take(self, waiting: WaitingStream, most: int) -> Run:
        """Remove and return up to `most` next events of a stream."""
        run = waiting.run
        taken = Run(run.stream, run.arrivals[:most], run.whole) if run.whole else run
        rest = run.arrivals[len(taken.arrivals) :]
        self.size -= _size(taken.arrivals)
        self._tried[run.stream] = waiting
        if rest:
            waiting.run = Run(run.stream, rest, run.whole)
        else:
            waiting.run = Run(run.stream, [])
            del self._waiting[run.stream]
        return taken

    def _join(self, waiting: WaitingStream, run: Run) -> None:
        self.size += _size(run.arrivals)
        before = waiting.run
        if not before.arrivals:
            waiting.run = Run(run.stream, list(run.arrivals), run.whole)
        elif before.whole and run.whole and before.arrivals[-1].version + 1 == run.arrivals[0].version:
            before.arrivals += run.arrivals
        else:
            both = [*before.arrivals, *run.arrivals]
            waiting.run = tidy(Run(run.stream, both))  # without repeated events
            self.size += _size(waiting.run.arrivals) - _size(both)

    def _handler(self, arrival: Arrival) -> Handler:
        handler = self._handlers.of(arrival)
        assert handler is not None, "its breaker is open"  # noqa: S101
        return handler


def _is_locked(waiting: WaitingStream) -> bool:
    return waiting.locked


def _size_of_note(note: Message) -> int:
    return size_of(note) + len(note.key) + _NOTE_OVERHEAD


def _away(breaker: Breaker, streams: Sequence[WaitingStream], now: float) -> WaitingHandler:
    handler = breaker.handler
    due = breaker.due if breaker.is_open else min((each.due for each in streams), default=now)
    return WaitingHandler(
        *handler.kind,
        handler.name,
        is_open=breaker.is_open,
        since=now - breaker.since,
        reason=breaker.reason,
        attempts=breaker.tries,
        streams=len(streams),
        next=max(0.0, due - now),
    )


def _failing(waiting: WaitingStream, streams: int, now: float) -> WaitingHandler:
    handler, failure = waiting.handler, waiting.failure
    assert handler is not None and failure is not None, "the caller selects only these"  # noqa: S101, PT018
    return WaitingHandler(
        *handler.kind,
        handler.name,
        is_open=False,
        since=now - failure.since,
        reason=failure.reason,
        attempts=failure.attempts,
        streams=streams,
        next=max(0.0, waiting.due - now),
    )


def _size(arrivals: Sequence[Arrival]) -> int:
    return sum([size_of(arrival.message) + _EVENT_OVERHEAD for arrival in arrivals])
