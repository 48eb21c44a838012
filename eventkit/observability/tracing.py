"""Spans of OpenTelemetry, by its conventions for messaging; only where the process has configured its SDK.

Every span of eventkit is opened here. Nothing is imported: a process with an SDK has imported `opentelemetry.trace`.
Without it a span costs a look-up in a dictionary, and with the API alone two calls.

| span                     | kind     | covers                              | links                     |
|--------------------------|----------|-------------------------------------|---------------------------|
| `append TOPIC`           | PRODUCER | one call of an append               | the event that caused it  |
| `send TOPIC`             | PRODUCER | one call of a `Sender`              |                           |
| `request TOPIC`          | PRODUCER | a request and the wait for a reply  |                           |
| `publish TOPIC`          | CLIENT   | a relay's page, until acknowledged  | the events' contexts      |
| `process TOPIC`          | CONSUMER | a batch of a projector or listener  | the events' contexts      |
| `reply TOPIC`            | CLIENT   | the replies to a batch of requests  | the requests' contexts    |
| `rebuild PROJECTION`     | INTERNAL | a rebuild with its swap             |                           |

A span has at most `MAX_LINKS` links, sampled contexts first. An error is recorded by its class alone, because its
message may quote an event.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from eventkit.domain.message import Message
from eventkit.domain.metadata import Metadata

MAX_LINKS = 128  # of a span, as many as the SDK keeps unless told otherwise
MAX_TRACESTATE = 512  # characters
_SCOPE = "eventkit"
_API = "opentelemetry.trace"
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = 1


class Signal(NamedTuple):
    """A kind of span."""

    operation: str  # the first word of its name
    type: str  # `messaging.operation.type`; empty for a span outside of messaging
    kind: str  # a name of SpanKind


APPEND = Signal("append", "create", "PRODUCER")
SEND = Signal("send", "send", "PRODUCER")
REQUEST = Signal("request", "send", "PRODUCER")
PUBLISH = Signal("publish", "send", "CLIENT")
PROCESS = Signal("process", "process", "CONSUMER")
REPLY = Signal("reply", "send", "CLIENT")
REBUILD = Signal("rebuild", "", "INTERNAL")

Attributes = Mapping[str, Any]
NO_SPAN: AbstractContextManager[Any] = nullcontext()


class Trace(NamedTuple):
    """A span's context, in the two headers of W3C."""

    traceparent: str
    tracestate: str | None = None


def current_trace() -> Trace | None:
    """Return the context of the current span; None without a span."""
    if _API not in sys.modules:
        return None
    current_span = getattr(sys.modules[_API], "get_current_span", None)  # another thread may be importing it now
    if current_span is None:
        return None
    context = current_span().get_span_context()
    return _trace_of(context) if context.is_valid else None


def is_on() -> bool:
    """Return whether the process has configured OpenTelemetry's SDK, or another provider of tracers."""
    return _API in sys.modules and _provider() is not None


def span(
    signal: Signal, destinations: Iterable[str], *, causes: Iterable[Trace] = (), attributes: Attributes | None = None
) -> AbstractContextManager[Any]:
    """Open a span around a block, as the current one; an error of the block is recorded by its class, and raised.

    `causes` are the contexts to link. A single one is also the span's parent, where no span is open.
    """
    return NO_SPAN if _provider() is None else _current(signal, destinations, causes, attributes or {})


def messages_span(
    signal: Signal, messages: Iterable[Message], *, attributes: Attributes | None = None
) -> AbstractContextManager[Any]:
    """Open a span around work on messages, if there are any; see `span`."""
    if _provider() is None:
        return NO_SPAN
    found = list(messages)
    topics = {message.topic for message in found}
    given = {**size(len(found)), **(attributes or {})}
    return _current(signal, topics, traces_of(found), given) if found else NO_SPAN


def start_span(signal: Signal, messages: Sequence[Message], attributes: Attributes) -> Any:  # noqa: ANN401
    """Return a new span over messages, which the caller ends with `end_span`; None if nothing is recorded."""
    tracer = _tracer()
    if tracer is None:
        return None
    topics = {message.topic for message in messages}
    given = _arguments(signal, topics, traces_of(messages), {**size(len(messages)), **attributes})
    opened = tracer.start_span(**given)
    return opened if opened.is_recording() else None


def end_span(opened: Any, *, error: str = "") -> None:  # noqa: ANN401
    """End a span of `start_span`; `error` is the kind of the failure."""
    if error:
        _fail(opened, error)
    opened.end()


def note(event: str, attributes: Attributes, *, error: BaseException | None = None) -> None:
    """Add an event to the current span; with an error, the span has failed."""
    if _provider() is None:
        return
    current = sys.modules["opentelemetry.trace"].get_current_span()
    if current.is_recording():
        failure = {} if error is None else {"error.type": kind_of(error)}
        current.add_event(event, {**attributes, **failure})
        if error is not None:
            _fail(current, kind_of(error))


def kind_of(error: BaseException) -> str:
    """Return the name of an error's class; that of a handler's error where it is wrapped."""
    return type(error).__qualname__


def trace_of(metadata: Metadata) -> list[Trace]:
    """Return the context in metadata, in a list; an empty one if there is none."""
    return [] if metadata.traceparent is None else [Trace(metadata.traceparent, metadata.tracestate)]


def traces_of(messages: Iterable[Message]) -> list[Trace]:
    """Return the distinct creation contexts of messages."""
    return list(dict.fromkeys(found for message in messages if (found := _trace_of_message(message))))


def _trace_of_message(message: Message) -> Trace | None:
    parent = state = None
    for name, value in message.headers:
        if name == "ce_traceparent":
            parent = value
        elif name == "ce_tracestate":
            state = value
    return None if parent is None else Trace(_text(parent), None if state is None else _text(state))


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def _provider() -> Any:  # noqa: ANN401 the API is not imported
    """Return the process's provider of tracers; None if there is none but the API's own."""
    api = sys.modules.get(_API)
    find = getattr(api, "get_tracer_provider", None)
    if api is None or find is None:
        return None
    found = find()
    return None if isinstance(found, api.ProxyTracerProvider) else found


_tracers: dict[str, tuple[Any, Any]] = {}  # the last provider and its tracer: making one costs as much as a span


def _tracer() -> Any:  # noqa: ANN401
    provider = _provider()
    if provider is None:
        return None
    known, tracer = _tracers.get(_SCOPE, (None, None))
    if known is not provider:
        tracer = provider.get_tracer(_SCOPE)
        _tracers[_SCOPE] = provider, tracer
    return tracer


@contextmanager
def _current(
    signal: Signal, destinations: Iterable[str], causes: Iterable[Trace], attributes: Attributes
) -> Iterator[Any]:
    given = _arguments(signal, set(destinations), list(causes), attributes)
    with _tracer().start_as_current_span(**given, record_exception=False, set_status_on_exception=False) as opened:
        try:
            yield opened
        except BaseException as error:
            _fail(opened, kind_of(error))
            raise


def _arguments(
    signal: Signal, destinations: set[str], causes: Sequence[Trace], attributes: Attributes
) -> dict[str, Any]:
    """Return the arguments of a new span, by the conventions: name, kind, attributes, links and parent."""
    api = sys.modules["opentelemetry.trace"]
    destination = destinations.pop() if len(destinations) == 1 else ""
    contexts = [context for cause in causes if (context := _context(cause)) is not None]
    contexts.sort(key=lambda context: not context.trace_flags & _SAMPLED)
    known = dict(attributes)
    if signal.type:
        known |= {"messaging.operation.name": signal.operation, "messaging.operation.type": signal.type}
        known.setdefault("messaging.system", _SCOPE)
        if destination:
            known["messaging.destination.name"] = destination
    if len(contexts) > MAX_LINKS:
        known["eventkit.links.left_out"] = len(contexts) - MAX_LINKS
    given: dict[str, Any] = {
        "name": f"{signal.operation} {destination}".strip(),
        "kind": api.SpanKind[signal.kind],
        "attributes": known,
        "links": [api.Link(context) for context in contexts[:MAX_LINKS]],
    }
    if len(contexts) == 1 and not api.get_current_span().get_span_context().is_valid:
        given["context"] = api.set_span_in_context(api.NonRecordingSpan(contexts[0]))
    return given


def size(count: int) -> dict[str, int]:
    """Return the attribute of a batch; a span of one message has none."""
    return {"messaging.batch.message_count": count} if count > 1 else {}


def _context(trace: Trace) -> Any:  # noqa: ANN401
    """Return a context that another process has sent; None if it is invalid."""
    api = sys.modules["opentelemetry.trace"]
    found = _TRACEPARENT.fullmatch(trace.traceparent)
    if found is None:
        return None
    state = api.TraceState.from_header([trace.tracestate]) if trace.tracestate else None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    context = api.SpanContext(trace_id, span_id, is_remote=True, trace_flags=api.TraceFlags(flags), trace_state=state)
    return context if context.is_valid else None


def _trace_of(context: Any) -> Trace:  # noqa: ANN401
    """Return the headers of a context; members of its state are left out from the end until it is short enough."""
    traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    if not context.trace_state:
        return Trace(traceparent)
    members = [f"{name}={value}" for name, value in context.trace_state.items()]
    while len(",".join(members)) > MAX_TRACESTATE:
        members.pop()
    return Trace(traceparent, ",".join(members) or None)


def _fail(opened: Any, kind: str) -> None:  # noqa: ANN401
    api = sys.modules["opentelemetry.trace"]
    opened.set_attribute("error.type", kind)
    opened.set_status(api.StatusCode.ERROR)
