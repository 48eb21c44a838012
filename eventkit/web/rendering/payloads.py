"""Data of events on the page: nothing, the names of its fields, or all of it when the visitor asks and may see it."""

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eventkit.storage.dead_letters import indented

if TYPE_CHECKING:
    from eventkit.web.visit import Visit

logger = logging.getLogger("eventkit.web")

MASK = "•••"
_NO_JSON = object()


@dataclass(frozen=True, slots=True)
class ShownData:
    """The text to show, whether it is masked, and whether the visitor may ask for all of it."""

    text: str | None
    is_masked: bool
    may_ask: bool


def log_showing(visit: "Visit", of: str) -> None:
    """Log that values are shown to the visitor; `of` names the letter, event or process with its id."""
    logger.info("%s was shown the data of %s", visit.access.who, of)


def shown_data(visit: "Visit", data: str | None, *, of: str) -> ShownData:
    """Return an event's data as this visitor may see it now; `?data=full` asks for all of it, which is logged."""
    mode = visit.access.payloads
    full = mode == "full" and visit.asked("data") == "full"
    if full and of:
        log_showing(visit, of)
    if data is None or mode == "none":
        return ShownData(None, is_masked=True, may_ask=False)
    if full:
        return ShownData(indented(data), is_masked=False, may_ask=True)
    return ShownData(masked(data), is_masked=True, may_ask=mode == "full")


def shown_text(visit: "Visit", text: str | None) -> str | None:
    """Return a text that may quote an event's data, only where its data is shown in full."""
    return text if visit.access.payloads == "full" and visit.asked("data") == "full" else None


def masked(data: str) -> str:
    """Return the names of the fields alone: the code declares them. Nested names may be a person's data, too."""
    value = _parsed(data)
    if value is _NO_JSON:
        return f"{len(data):,} characters that are no JSON"
    return json.dumps(dict.fromkeys(value, MASK) if isinstance(value, dict) else MASK, indent=2, ensure_ascii=False)


def _parsed(data: str) -> Any:  # noqa: ANN401 JSON of any shape
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return _NO_JSON
