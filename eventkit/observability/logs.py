"""The log of eventkit's processes on stderr: one sentence with its values a line, as text or as JSON.

A library does not configure logging: only the command line calls `configure`. Rooms log to
`getLogger("eventkit.<room>")`. Every message is escaped, so that data from another producer can neither control a
terminal nor forge a line. With JSON, stderr holds one object a line, also for uncaught errors, warnings of Python, and
messages of signal handlers.
"""

import json
import logging
import os
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, TextIO

from eventkit.observability.log_fields import fields_of
from eventkit.observability.plain import one_line, plain
from eventkit.observability.tracing import current_trace

Format = Literal["text", "json"]
LEVELS = ("debug", "info", "warning", "error")

Problem = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class TextLines(logging.Formatter):
    """`2026-01-31 12:00:00.123 INFO    relay: the sentence`, in local time; a stack follows on further lines."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone()
        time = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}"
        line = f"{time} {record.levelname:<7} {_room(record)}: {one_line(record.getMessage())}"
        return f"{line}\n{stack(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One object a line: time (UTC, ISO 8601), level, room, message, its fields, and error if there is a stack."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "room": _room(record),
            "message": one_line(record.getMessage()),
            **fields_of(record),
        }
        trace = current_trace()
        if trace is not None:
            line["trace_id"] = trace.traceparent.split("-")[1]
        if record.exc_info:
            line["error"] = stack(record.exc_info)
        return plain(json.dumps(line, ensure_ascii=False))


def configure(form: Format = "text", *, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Log eventkit's rooms from `level` on, all others from WARNING on; replace any earlier configuration."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("eventkit").setLevel(level)
    logging.captureWarnings(capture=True)
    for module, name, hook in ((threading, "excepthook", _thread_ended), (sys, "excepthook", _process_ended),
                               (sys, "unraisablehook", _not_raised)):  # fmt: skip
        if getattr(module, name) is getattr(module, f"__{name}__"):  # keep the hook of an error tracker
            setattr(module, name, hook)


def is_json() -> bool:
    """Return whether this process logs JSON."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)


def write(room: str, sentence: str) -> None:
    """Write a sentence without the logging library, because a signal handler must not wait for its locks."""
    record = logging.LogRecord(f"eventkit.{room}", logging.INFO, "", 0, sentence, (), None)
    os.write(2, f"{JsonLines().format(record) if is_json() else sentence}\n".encode())


def stack(problem: Problem | None) -> str:
    """Return an error's stack; the lines of its message are indented, so that they cannot be taken for log lines."""
    if problem is None or problem[1] is None:
        return ""
    chunks = traceback.format_exception(problem[1])
    return plain("".join(chunk if _is_frame(chunk) else _indented(chunk) for chunk in chunks).rstrip("\n"))


def _is_frame(chunk: str) -> bool:
    """Return whether a part of a stack is a frame or a heading, not an error's message."""
    return chunk.startswith((" ", "\n", "Traceback "))


def _indented(chunk: str) -> str:
    return "\n  ".join(chunk.rstrip("\n").splitlines()) + "\n"


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else "of Python"
        problem = (args.exc_type, args.exc_value, args.exc_traceback)
        logging.getLogger("eventkit").critical("thread %s has ended with an error", name, exc_info=problem)


def _process_ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("eventkit").critical("the process has ended with an error", exc_info=(kind, error, trace))


def _not_raised(args: "sys.UnraisableHookArgs") -> None:
    error = args.exc_value
    problem = (type(error), error, args.exc_traceback) if error else None
    logging.getLogger("eventkit").warning("%s", args.err_msg or "an error was not raised", exc_info=problem)


def _room(record: logging.LogRecord) -> str:
    return record.name.removeprefix("eventkit.")
