"""Finds the handler of an event by its source and type, and decodes the event for it.

Events without a handler advance their stream's checkpoint and are counted.
"""

import logging
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from eventkit.domain.catalog import Catalog
from eventkit.domain.envelope import EncodedEvent, Envelope
from eventkit.domain.functions import is_asynchronous
from eventkit.domain.header_values import Raw, are_times, shown
from eventkit.domain.message import PlainMessage, event_of, schema_version_of
from eventkit.domain.stream import StreamId
from eventkit.errors import InvalidStreamId, ProjectionError
from eventkit.projection.batch import Arrival
from eventkit.projection.retry_policy import Retry
from eventkit.storage.dead_letters import TOMBSTONE
from eventkit.storage.projections import is_message

logger = logging.getLogger("eventkit.projection")

_MAX_UNHANDLED = 1_000  # kinds without a handler that are remembered
_MAX_TYPE_NAME = 200  # characters
Function = Callable[..., object]
Decode = Callable[[bytes | str], Any]
Key = Callable[["Step"], Any]
# `sys.exit()` in a handler, or a cancelled task, must not end the projector.
RAISED = (Exception, SystemExit, CancelledError, GeneratorExit)


class Policy(NamedTuple):
    """The retry policy and the time limit of a handler."""

    retry: Retry
    timeout: float | None  # seconds; None: the projection's timeout


def _no_key(_: "Step") -> None:
    """Return no key: the projection has no rows."""


class Handler(msgspec.Struct, frozen=True):
    """A function and the event type that it handles."""

    source: str
    type: str
    function: Function
    takes_envelope: bool
    key: Key = _no_key  # of its row, in a table projection
    user: Function | None = None  # the service's own function, if `function` wraps it
    asynchronous: bool = False  # the service's own function is `async def`
    policy: Policy = Policy(Retry(), None)

    @property
    def retry(self) -> Retry:
        """The retry policy."""
        return self.policy.retry

    @property
    def name(self) -> str:
        """The service's function, as `package.module.function`."""
        function = self.user or self.function
        return f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"

    @property
    def kind(self) -> tuple[str, str]:
        """Source and type of its events, which identify it in its projection."""
        return self.source, self.type


class Step(msgspec.Struct, gc=False):
    """A decoded event and its handler; the envelope only if the handler takes it."""

    handler: Handler
    event: Any
    envelope: Envelope[Any] | None
    stream: str  # in an inbox, the message's name


def raised_by(step: Step, error: BaseException) -> None:
    """Mark an error with the step whose handler raised it; the first mark stays.

    Raise a ProjectionError in place of an error that would end the process.
    """
    if not isinstance(error, Exception):
        ended = ProjectionError(f"the handler of {step.handler.type} raised {type(error).__name__}")
        raised_by(step, ended)
        raise ended.with_traceback(error.__traceback__) from error  # keep the handler's line in the traceback
    if step_of(error) is None:
        error._eventkit_step = step  # type: ignore[attr-defined]  # noqa: SLF001 the mark travels with the error


def step_of(error: BaseException) -> Step | None:
    """Return the step whose handler raised an error; None if no handler did."""
    found = getattr(error, "_eventkit_step", None)
    return found if isinstance(found, Step) else None


def handler_of(error: BaseException) -> Handler | None:
    """Return the handler that raised an error; None if no handler did."""
    step = step_of(error)
    return step.handler if step else None


class HandlerTable:
    """The handlers of one projection, by the source and type of the event."""

    def __init__(self, projection: str, catalog: Catalog) -> None:
        self._projection = projection
        self._catalog = catalog
        self._by_kind: dict[tuple[Raw, Raw], Handler] = {}
        self._decoders: dict[tuple[int, int], Decode] = {}  # by the handler's id and the schema version
        self._plain: dict[tuple[Raw, Raw], tuple[Handler, Decode]] = {}  # by kind; of version 1, without an envelope
        self._unhandled: set[tuple[Raw, Raw]] = set()  # kinds without a handler, as received
        self.asynchronous = False  # whether a handler is `async def`
        self.has_limits = False  # whether a handler has its own time limit
        self.unknown: list[str] = []  # received types with the catalog's source that the catalog does not know

    def __iter__(self) -> Iterator[Handler]:
        """Return each handler once."""
        return iter({(handler.source, handler.type): handler for handler in self._by_kind.values()}.values())

    def add(
        self,
        cls: type,
        function: Function,
        *,
        takes_envelope: bool,
        key: Key = _no_key,
        user: Function | None = None,
        policy: Policy = Policy(Retry(), None),  # noqa: B008 it cannot be changed
    ) -> None:
        """Register the handler of an event class; `user` is the service's function if `function` wraps it."""
        kind = self._catalog.type_of(cls)
        if (kind.source, kind.name) in self._by_kind:
            raise ProjectionError(
                f"projection {self._projection!r} has two handlers for {kind.name}: join them into one function"
            )
        asynchronous = is_asynchronous(user or function)
        handler = Handler(kind.source, kind.name, function, takes_envelope, key, user, asynchronous, policy)
        self.asynchronous = self.asynchronous or asynchronous
        self.has_limits = self.has_limits or policy.timeout is not None
        for name in kind.names:
            self._by_kind[kind.source, name] = handler
            self._by_kind[kind.source.encode(), name.encode()] = handler  # as some transports deliver them

    def check_type(self, cls: type) -> None:
        """Raise UnknownEventType if the catalog does not have a class."""
        self._catalog.type_of(cls)

    def handles(self, arrival: Arrival) -> bool:
        return arrival.kind in self._by_kind

    def of(self, arrival: Arrival) -> Handler | None:
        """Return the handler of an event."""
        return self._by_kind.get(arrival.kind)

    def decode(self, arrival: Arrival, opened: EncodedEvent | None = None) -> Step | None:
        """Decode an event for its handler; return None if it has none.

        `opened` is the event with decrypted personal data, if it has any. Raise UndecodableEvent or NewerSchema.
        """
        kind = arrival.kind
        handler = self._handler_of(kind)
        if handler is None:
            return None
        if handler.takes_envelope:
            envelope = self._catalog.decode(opened or encoded(arrival))
            return Step(handler, envelope.event, envelope, arrival.stream)
        if opened is not None:
            return Step(handler, self._catalog.event_of(opened), None, arrival.stream)
        version = schema_version_of(arrival.message)
        decode = self._decoders.get((id(handler), version)) or self._decoder(handler, version)
        if version == 1:
            self._plain[kind] = handler, self._catalog.quick_decoder(handler.source, handler.type)
        return Step(handler, decode(arrival.message.value), None, arrival.stream)

    def decode_stored(self, event: EncodedEvent) -> Step | None:
        """Decode an event of the store, as `decode` does."""
        kind = event.source, event.type
        handler = self._handler_of(kind)
        if handler is None:
            return None
        if handler.takes_envelope:
            envelope = self._catalog.decode(event)
            return Step(handler, envelope.event, envelope, event.stream)
        version = event.schema_version
        decode = self._decoders.get((id(handler), version)) or self._decoder(handler, version)
        return Step(handler, decode(event.data), None, event.stream)

    def decode_plain(self, arrivals: Sequence[Arrival]) -> list[Step | None]:
        """Decode together the events that need nothing else of `decode`; return None for all others.

        If one of them cannot be decoded, or may be wrong, all are for `decode`, which finds it and says why.
        """
        known = self._known_plain(arrivals)
        try:
            return [
                Step(each[0], each[1](arrival.message.value), None, arrival.stream) if each is not None else None
                for arrival, each in zip(arrivals, known, strict=True)
            ]
        except Exception:  # noqa: BLE001 decoders of events raise errors of many types
            return [None] * len(arrivals)

    def _known_plain(self, arrivals: Sequence[Arrival]) -> list[tuple[Handler, Decode] | None]:
        """Return handler and decoder of the plain events of known kinds; their ids and times are checked together."""
        found: list[tuple[Handler, Decode] | None] = []
        source = kind = b""
        known, ids, times = None, [], []
        for arrival in arrivals:
            message = arrival.message
            if type(message) is not PlainMessage:
                found.append(None)
                continue
            if message.type != kind or message.source != source:  # often the same as of the event before
                source, kind = message.source, message.type
                known = self._plain.get((source, kind))
            found.append(known)
            if known is not None:
                ids.append(message.event_id)
                times.append(message.time)
        return found if b"".join(ids).isascii() and are_times(times) else [None] * len(found)

    def _handler_of(self, kind: tuple[Raw, Raw]) -> Handler | None:
        """Return the handler of a kind; note a kind that has none."""
        handler = self._by_kind.get(kind)
        if handler is None and kind not in self._unhandled:
            self._note_unhandled(kind)
        return handler

    def _note_unhandled(self, kind: tuple[Raw, Raw]) -> None:
        """Remember a kind without a handler; warn once if its source is the catalog's and its type is unknown."""
        if len(self._unhandled) >= _MAX_UNHANDLED:  # a producer invents types
            return
        self._unhandled.add(kind)
        source, name = (part.decode(errors="replace") if isinstance(part, bytes) else part or "" for part in kind)
        if source == self._catalog.name and name != TOMBSTONE and not self._catalog.has_known(name):
            self.unknown.append(name[:_MAX_TYPE_NAME])
            named = shown(name)
            logger.warning("%s passes events of a type that its catalog does not know: %s", self._projection, named)

    def _decoder(self, handler: Handler, version: int) -> Decode:
        """Look a decoder up at its first use; earlier, a class named in the event may not be declared yet."""
        decode = self._decoders[id(handler), version] = self._catalog.decoder(handler.source, handler.type, version)
        return decode


def encoded(arrival: Arrival) -> EncodedEvent:
    """Parse all headers of an event; any id is accepted, and any key of a message without a version."""
    if is_message(arrival.stream):
        event = event_of(arrival.message, versioned=False)
        event.stream = _stream_of(arrival)
    else:
        event = event_of(arrival.message)
        event.position = arrival.position
    event.id = str(arrival.uuid)
    return event


def _stream_of(arrival: Arrival) -> StreamId:
    try:
        return StreamId.parse(arrival.message.key)
    except InvalidStreamId:
        return StreamId("message", arrival.uuid)
