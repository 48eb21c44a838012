"""The log of our own processes: sentences with values in them, one line each, on stderr; text for people, or JSON.

A library configures no logging: only the command line calls `configure`. Rooms log to `getLogger("eventkit.<room>")`.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

Format = Literal["text", "json"]


class TextLines(logging.Formatter):
    """`2026-01-31 12:00:00.123 INFO    relay: the sentence`, in local time; a stack follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone()
        time = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}"
        line = f"{time} {record.levelname:<7} {_room(record)}: {_sentence(record)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One object a line: time (UTC, ISO 8601), level, room, message, and error where there is a stack."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "room": _room(record),
            "message": _sentence(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(form: Format = "text", *, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Let eventkit's rooms log from `level` on, everybody else from WARNING on; replaces what was configured before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("eventkit").setLevel(level)


def _room(record: logging.LogRecord) -> str:
    return record.name.removeprefix("eventkit.")


def _sentence(record: logging.LogRecord) -> str:
    return " ".join(record.getMessage().split())  # a broker's or a server's text may have line breaks
