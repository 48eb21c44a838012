"""Which function of a projection takes which event, and how a message becomes what the function takes.

Types without a handler are none of the projection's business: they advance its checkpoint and are counted.
"""

import logging
from asyncio import CancelledError
from collections.abc import Callable, Collection, Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import msgspec

from eventkit.domain.catalog import Catalog
from eventkit.domain.envelope import EncodedEvent, Envelope
from eventkit.domain.functions import is_asynchronous, name_of, positional, refusal, unrun, wrong_parameters
from eventkit.domain.header_values import Raw, shown
from eventkit.domain.message import event_of, schema_version_of
from eventkit.domain.stream import StreamId
from eventkit.errors import InvalidStreamId, ProjectionError
from eventkit.projection.batch import Arrival
from eventkit.projection.retry_policy import Retry
from eventkit.storage.dead_letters import TOMBSTONE
from eventkit.storage.projections import is_message

logger = logging.getLogger("eventkit.projection")

_REMEMBERED = 1_000  # kinds without a handler
_LONGEST = 200  # characters of a type's name
Function = Callable[..., object]
Decode = Callable[[bytes | str], Any]
Key = Callable[[Any, Envelope[Any] | None], Any]
# `sys.exit()` in a handler, or a task that was cancelled, must not end the projector.
RAISED = (Exception, SystemExit, CancelledError, GeneratorExit)


class Policy(NamedTuple):
    """How a handler is called."""

    retry: Retry
    timeout: float | None  # seconds, where the handler has a limit of its own


class Handler(msgspec.Struct, frozen=True):
    """A function and the type that it takes."""

    source: str
    type: str
    function: Function
    takes_envelope: bool
    key: Key | None = None  # the row's key, of a table projection
    user: Function | None = None  # the service's own function, where `function` wraps it
    asynchronous: bool = False  # the service's own function is `async def`
    policy: Policy = Policy(Retry(), None)

    @property
    def retry(self) -> Retry:
        """How often it is tried, and which errors it waits for."""
        return self.policy.retry

    @property
    def name(self) -> str:
        """The service's function, as `package.module.function`."""
        function = self.user or self.function
        return f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"

    @property
    def kind(self) -> tuple[str, str]:
        """Source and type of its events: what it is known by in its projection."""
        return self.source, self.type


class Step(msgspec.Struct, gc=False):
    """A decoded event and its handler; the envelope only where the handler takes it."""

    handler: Handler
    event: Any
    envelope: Envelope[Any] | None
    stream: str  # or what stands for it, in an inbox


def raised_by(step: Step, error: BaseException) -> None:
    """Remember in an error which event's handler has raised it; the first one counts.

    Raises an error in the place of one that would end the process.
    """
    if not isinstance(error, Exception):
        ended = ProjectionError(f"the handler of {step.handler.type} raised {type(error).__name__}")
        raised_by(step, ended)
        raise ended.with_traceback(error.__traceback__) from error  # its place is the handler's
    if step_of(error) is None:
        error._eventkit_step = step  # type: ignore[attr-defined]  # noqa: SLF001 it travels with the error


def step_of(error: BaseException) -> Step | None:
    """Return the event whose handler has raised an error; None where it came from elsewhere."""
    found = getattr(error, "_eventkit_step", None)
    return found if isinstance(found, Step) else None


def handler_of(error: BaseException) -> Handler | None:
    """Return the handler that has raised an error; None where it came from elsewhere."""
    step = step_of(error)
    return step.handler if step else None


class HandlerTable:
    """The handlers of one projection, by the source and type of the event."""

    def __init__(self, projection: str, catalog: Catalog) -> None:
        """Start without handlers."""
        self._projection = projection
        self._catalog = catalog
        self._by_kind: dict[tuple[Raw, Raw], Handler] = {}
        self._decoders: dict[tuple[int, int], Decode] = {}  # by the handler's id and the schema version
        self._passed: set[tuple[Raw, Raw]] = set()  # kinds without a handler, as they came
        self.asynchronous = False  # whether a handler is `async def`
        self.has_limits = False  # whether a handler has a time limit of its own
        self.unknown: list[str] = []  # types of the catalog itself that it does not know, and that came

    def __iter__(self) -> Iterator[Handler]:
        """Return each handler once."""
        return iter({(handler.source, handler.type): handler for handler in self._by_kind.values()}.values())

    def add(
        self,
        cls: type,
        function: Function,
        *,
        takes_envelope: bool,
        key: Key | None = None,
        user: Function | None = None,
        policy: Policy = Policy(Retry(), None),  # noqa: B008 it cannot be changed
    ) -> None:
        """Register the one handler of an event class; `user` is the service's function where `function` wraps it."""
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
            self._by_kind[kind.source.encode(), name.encode()] = handler  # as some transports give them

    def check_type(self, cls: type) -> None:
        """Raise UnknownEventType where the catalog does not have a class, before there is a function for it."""
        self._catalog.type_of(cls)

    def handles(self, arrival: Arrival) -> bool:
        """Whether an event has a handler."""
        return arrival.kind in self._by_kind

    def of(self, arrival: Arrival) -> Handler | None:
        """Return the handler of an event."""
        return self._by_kind.get(arrival.kind)

    def decode(self, arrival: Arrival, opened: EncodedEvent | None = None) -> Step | None:
        """Decode an event for its handler; None when there is none; UndecodableEvent when it cannot be done.

        `opened` is the event with its personal data, where that was opened.
        """
        kind = arrival.kind
        handler = self._by_kind.get(kind)
        if handler is None:
            if kind not in self._passed:
                self._pass(kind)
            return None
        if handler.takes_envelope:
            envelope = self._catalog.decode(opened or encoded(arrival))
            return Step(handler, envelope.event, envelope, arrival.stream)
        if opened is not None:
            return Step(handler, self._catalog.event_of(opened), None, arrival.stream)
        version = schema_version_of(arrival.message)
        decode = self._decoders.get((id(handler), version)) or self._decoder(handler, version)
        return Step(handler, decode(arrival.message.value), None, arrival.stream)

    def _pass(self, kind: tuple[Raw, Raw]) -> None:
        """Remember a kind that nobody handles; warn once of one that the catalog should know."""
        if len(self._passed) >= _REMEMBERED:  # somebody makes them up
            return
        self._passed.add(kind)
        source, name = (part.decode(errors="replace") if isinstance(part, bytes) else part or "" for part in kind)
        if source == self._catalog.name and name != TOMBSTONE and not self._catalog.has_known(name):
            self.unknown.append(name[:_LONGEST])
            named = shown(name)
            logger.warning("%s passes events of a type that its catalog does not know: %s", self._projection, named)

    def _decoder(self, handler: Handler, version: int) -> Decode:
        """Look a decoder up once: not when the handler is declared, where a class named in the event may be missing."""
        decode = self._decoders[id(handler), version] = self._catalog.decoder(handler.source, handler.type, version)
        return decode


def encoded(arrival: Arrival) -> EncodedEvent:
    """Read all headers of an event: any id will do, and of a message without a version any key."""
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


def takes_envelope(function: Function, *, plain: int, projection: str, asynchronous: bool = False) -> bool:
    """Return whether a function takes the envelope as one argument more than `plain`; ProjectionError refuses it.

    `asynchronous`: an `async def` is awaited.
    """
    more = f"{plain}, or {plain + 1} with the envelope"
    check_function(function, (plain, plain + 1), projection=projection, more=more, asynchronous=asynchronous)
    return positional(function) == plain + 1


def check_function(
    function: object, counts: Collection[int], *, projection: str, more: str = "", asynchronous: bool = False
) -> None:
    """Raise ProjectionError for what would be called in vain, or cannot be called with so many arguments."""
    wrong = refusal(function, asynchronous=asynchronous)
    if wrong is None and (parameters := wrong_parameters(function, counts)):
        wrong = f"{parameters}; it must take {more or ' or '.join(map(str, counts))}"
    if wrong:
        raise ProjectionError(f"{name_of(function)} of projection {projection!r} {wrong}")


def check_awaitable(function: object, *, projection: str) -> None:
    """Raise ProjectionError for an `async def` where SQLAlchemy has no asynchronous connections to give it."""
    if is_asynchronous(function) and find_spec("greenlet") is None:
        raise ProjectionError(
            f"{name_of(function)} of projection {projection!r} is `async def`, and SQLAlchemy's AsyncConnection needs "
            "greenlet: pip install 'eventkit-outbox[asyncio]'"
        )


def check_ran(step: Step, result: object) -> None:
    """Raise ProjectionError where a handler has returned what would still have to run."""
    what = unrun(result)
    if what:
        raise ProjectionError(
            f"the handler of {step.handler.type} returned {what}: nothing was done; write a plain function"
        )
