"""The lines of a log: stable fields in JSON, and no flood where one fault has many events."""

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import psycopg
import pytest

from eventkit.observability import logs
from eventkit.observability.log_fields import LogFields, extra
from eventkit.observability.rarely import Rarely
from eventkit.projection.define.sql import SqlProjection
from tests.observability.spans import Spans, spans
from tests.projection.shop import Ordered, message, projector, shop

__all__ = ["spans"]
ROOT = Path(__file__).parents[2]
logger = logging.getLogger("eventkit.test")


class Log:
    """A process's log in JSON."""

    def __init__(self, text: io.StringIO) -> None:
        self._text = text

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All lines so far."""
        return [json.loads(line) for line in self._text.getvalue().splitlines()]

    def warnings(self) -> list[dict[str, Any]]:
        """The lines that name a fault."""
        return [line for line in self.lines if line["level"] in ("warning", "error")]


@pytest.fixture
def log() -> Iterator[Log]:
    """Log as a process with `--log-format json` does."""
    text, handler = io.StringIO(), logging.StreamHandler()
    handler.setStream(text)
    handler.setFormatter(logs.JsonLines())
    root = logging.getLogger("eventkit")
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield Log(text)
    root.removeHandler(handler)
    root.setLevel(before)


def broken() -> SqlProjection:
    """Return a read model that takes nothing."""
    projection = SqlProjection("broken", shop)
    projection.retry = projection.retry.__class__(attempts=1)

    @projection.on(Ordered)
    def ordered(connection: object, event: Ordered) -> None:  # noqa: ARG001
        raise ValueError(event.customer)

    return projection


def test_a_fault_of_many_events_is_said_once_and_counted(database_url: str, log: Log) -> None:
    """Forty streams park for one reason: a line for the failure, one for the parking, and at the end their counts."""
    events = [message(f"order-{number}", 1, Ordered("secret-4711", 1)) for number in range(40)]

    with projector(database_url, broken()) as running:
        running.apply(events)
        assert len(log.warnings()) == 2
        running.stop.set()
        running.report()

    faults = log.warnings()
    assert len(faults) == 4
    assert all(line["message"].endswith("(38 more since the last such line)") for line in faults[2:])
    assert not any("4711" in json.dumps(line) for line in log.lines)


def test_a_line_has_the_fields_of_its_event(database_url: str, log: Log) -> None:
    """They have their own names in JSON, so that nobody parses a sentence."""
    event = message("order-7", 1, Ordered("ann", 1))

    with projector(database_url, broken()) as running:
        running.apply([event])

    with psycopg.connect(database_url) as connection:
        [(event_id,)] = connection.execute("select event_id from eventkit.dead_letters").fetchall()
    for line in log.warnings():
        assert {name: line.get(name) for name in ("projection", "stream", "version", "event_id", "error_type")} == {
            "projection": "broken", "stream": "order-7", "version": 1, "event_id": str(event_id),
            "error_type": "ValueError",
        }  # fmt: skip


def test_a_line_within_a_span_has_its_trace(log: Log, spans: Spans) -> None:
    """The number of the trace is that of the current span."""
    logger.info("before")
    with spans.under() as context:
        logger.info("within")

    before, within = log.lines
    assert "trace_id" not in before
    assert within["trace_id"] == f"{context.trace_id:032x}"


def test_fields_cannot_forge_a_line(log: Log) -> None:
    """A stream's name comes from elsewhere: line breaks and escape codes are escaped."""
    logger.warning("x", extra=extra({"stream": 'order-\n\x1b[2J"}'}))

    [line] = log.lines
    assert line["stream"] == 'order-\n\x1b[2J"}'


def test_each_kind_of_fault_is_counted_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    """Another kind is said at once; a count is said with the next line of its kind, or when it is asked for."""
    rarely = Rarely(logger, every=3_600)
    for number in range(5):
        rarely.warning("fault %d", number, kind="one")
    rarely.error("another")
    rarely.flush()
    assert caplog.messages == ["fault 0", "another"]

    rarely.flush(at_end=True)

    assert caplog.messages[2:] == ["fault 4 (3 more since the last such line)"]


def test_kinds_of_faults_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """A kind may come from elsewhere: the oldest is forgotten."""
    rarely = Rarely(logger, every=3_600)
    for number in range(3_000):
        rarely.warning("x", kind=number)

    assert len(rarely._faults) == 1_000
    assert len(caplog.messages) == 3_000


def test_the_page_lists_every_field() -> None:
    """The table of the docs has the fields of the code, and no others."""
    page = (ROOT / "docs/tracing.md").read_text().partition("## Logs")[2]
    common = {"time", "level", "room", "message", "error", "trace_id"}

    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == common | set(get_type_hints(LogFields))
