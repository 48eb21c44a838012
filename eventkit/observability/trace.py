"""The current trace of OpenTelemetry, if the process uses it.

Nothing is imported: a process with an open span has imported `opentelemetry.trace`. Without it, the cost is one lookup
in a dictionary.
"""

import sys


def current_traceparent() -> str | None:
    """Return the current span's context in the form of W3C (`00-<trace>-<span>-<flags>`); None without a span."""
    trace = sys.modules.get("opentelemetry.trace")
    current_span = getattr(trace, "get_current_span", None)  # another thread may be importing it now
    if current_span is None:
        return None
    span = current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
