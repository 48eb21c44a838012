"""The trace that is going on, as OpenTelemetry knows it; where the process does not use OpenTelemetry, there is none.

Nothing is imported for it: who has a span open has imported `opentelemetry.trace`. Without it, asking costs one look
into a dictionary.
"""

import sys


def current_traceparent() -> str | None:
    """Return the current span's context as the W3C writes it (`00-<trace>-<span>-<flags>`), None without a span."""
    trace = sys.modules.get("opentelemetry.trace")
    current_span = getattr(trace, "get_current_span", None)  # another thread may just be importing it
    if current_span is None:
        return None
    span = current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
