"""Spans of a test's own: an SDK of OpenTelemetry that keeps them in memory, for this test alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

STATE = "vendor=opaque,tenant@system=7"


class Spans:
    """The ended spans of one provider."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the ended spans of a name, the first ended first."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def text(self) -> str:
        """Return all that the spans say."""
        return "".join(span.to_json() for span in self._exporter.get_finished_spans())

    @contextmanager
    def under(self) -> Iterator[trace.SpanContext]:
        """Open a span, as a web framework does for a request, with a state that another service has sent."""
        remote = trace.SpanContext(
            1, 2, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=trace.TraceState.from_header([STATE])
        )
        parent = trace.set_span_in_context(trace.NonRecordingSpan(remote))
        with self.provider.get_tracer("test").start_as_current_span("request", context=parent) as span:
            yield span.get_span_context()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """Record the spans of this process."""
    recorded = Spans()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: recorded.provider)
    yield recorded
    recorded.provider.shutdown()


def place(span: ReadableSpan) -> tuple[int, int]:
    """Return the trace and the number of a span."""
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def linked(span: ReadableSpan) -> set[tuple[int, int]]:
    """Return the places that a span links to."""
    return {(link.context.trace_id, link.context.span_id) for link in span.links}


def parent_of(span: ReadableSpan) -> tuple[int, int] | None:
    """Return the place of a span's parent."""
    return (span.parent.trace_id, span.parent.span_id) if span.parent else None


def told(span: ReadableSpan) -> dict[str, object]:
    """Return a span's attributes."""
    return dict(span.attributes or {})
