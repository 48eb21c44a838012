"""Dead letters as a table, in full, or as JSON; the payload is masked without --payload."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from eventkit.cli.common import tables
from eventkit.cli.common.durations import ago
from eventkit.cli.common.output import say
from eventkit.cli.common.tables import new_table
from eventkit.storage.dead_letters import Action, Filed

MASK = "***"
# Headers that are shown. All others may hold anything, such as the user's own fields or data of another producer.
_SHOWN = frozenset(
    f"ce_{name}"
    for name in (
        *("specversion", "id", "source", "type", "time", "streamversion", "dataschemaversion"),
        *("correlationid", "causationid", "traceparent", "tracestate", "replyto", "outcome"),
    )
) | {"content-type", "traceparent", "tracestate"}
_MAX_ERROR = 60  # characters of an error in a table
_MAX_DEPTH = 200  # levels of nested JSON
_NOTHING = object()


def table(letters: Sequence[Filed], left: int, *, more: bool) -> None:
    """Print one line for each letter."""
    numbers = ("id", "version", "tries", "age")
    shown = new_table("id", "parked by", "stream", "version", "type", "cause", "tries", "age", "error", right=numbers)
    for letter in letters:
        shown.add_row(
            *_row(letter.id, letter.parked_by, letter.stream, letter.version, letter.type, cause(letter)),
            *_row(letter.attempts, ago(letter.parked_at), _short(letter.error)),
        )
    tables.show(shown)
    if left > 0 or more:
        say(f"... and {'at least ' if more else ''}{left:,} more (--limit)")


def cause(letter: Filed) -> str:
    """Return why a letter exists, and whether a redrive is requested."""
    if letter.stale:
        return f"{letter.cause}, replaced by a rebuild"
    return f"{letter.cause}, redrive asked by {letter.asked_by}" if letter.asked_by else letter.cause


def in_full(letter: Filed, *, payload: bool) -> str:
    """Return all fields of a letter, one a line."""
    facts = as_json(letter, payload=payload)
    headers = facts.pop("headers") or {}
    return _lines({name.replace("_", " "): value for name, value in facts.items()} | headers)


def action_in_full(action: Action) -> str:
    """Return all fields of an action, one a line, with the event's data."""
    return _lines({name.replace("_", " "): value for name, value in action_as_json(action, payload=True).items()})


def _lines(facts: dict[str, Any]) -> str:
    lines = {name: value for name, value in facts.items() if value is not None}
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {''.join(_row(_text(value)))}" for name, value in lines.items())


def as_json(letter: Filed, *, payload: bool) -> dict[str, Any]:
    """Return a letter as an object for a script."""
    event = letter.event or {}
    headers = {name: value if payload or name in _SHOWN else MASK for name, value in event.get("headers", {}).items()}
    facts = msgspec.structs.asdict(letter) | {"topic": event.get("topic"), "headers": headers or None}
    del facts["event"]
    texts = {"detail": _masked_text(letter.detail, payload=payload), "data": shown(letter.data, payload=payload)}
    return msgspec.to_builtins(facts | texts)  # type: ignore[no-any-return]


def action_as_json(action: Action, *, payload: bool) -> dict[str, Any]:
    """Return an action as an object for a script."""
    data = {name: shown(getattr(action, name), payload=payload) for name in ("data", "new_data")}
    data["detail"] = _masked_text(action.detail, payload=payload)
    return msgspec.to_builtins(msgspec.structs.asdict(action) | data)  # type: ignore[no-any-return]


def actions_table(actions: Sequence[Action]) -> None:
    """Print one line for each action."""
    numbers = ("letter", "version")
    shown = new_table("at", "who", "action", "letter", "parked by", "stream", "version", "was", "result", right=numbers)
    for action in actions:
        shown.add_row(
            *_row(f"{action.at:%Y-%m-%d %H:%M:%S}", action.actor, action.action, action.letter, action.parked_by),
            *_row(action.stream, action.version, f"{action.cause}: {_short(action.error)}", action.result),
        )
    tables.show(shown)


def shown(data: bytes | None, *, payload: bool) -> Any:  # noqa: ANN401 JSON of any shape
    """Return an event's data with its values masked unless `payload`; data that is no JSON as text, or as its size."""
    if data is None:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = _NOTHING
    if value is _NOTHING or not _shallow(value):
        return data.decode(errors="replace") if payload else f"{len(data)} bytes that are no JSON, or nested deeply"
    return value if payload else _masked(value)


def _shallow(value: Any) -> bool:  # noqa: ANN401 JSON of any shape
    """Return whether JSON can be printed; Python's functions would fail at deeper nesting, which is shown as text."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return True
    return False


def _masked(value: Any) -> Any:  # noqa: ANN401 JSON of any shape
    """Keep only the names of the event's fields: the code declares them. Nested names may be user data, too."""
    return dict.fromkeys(value, MASK) if isinstance(value, dict) else MASK


def _masked_text(text: str | None, *, payload: bool) -> str | None:
    return text if payload or text is None else MASK


def _short(error: str) -> str:
    line = error.partition("\n")[0]
    return line if len(line) <= _MAX_ERROR else line[: _MAX_ERROR - 3] + "..."


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _row(*cells: object) -> list[str]:
    """Return the cells without control characters: data from another producer must not control the terminal."""
    return ["".join(c if c.isprintable() else "\ufffd" for c in str(cell)) for cell in cells]
