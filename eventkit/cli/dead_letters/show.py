"""How dead letters are shown: as a table, in full, as JSON; the payload masked unless it was asked for."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from eventkit.cli.common.durations import ago
from eventkit.storage.dead_letters import Action, Filed

MASK = "***"
# Headers that are shown; all others may hold anything: the user's own fields, and whatever a stranger has sent.
_SHOWN = frozenset(
    f"ce_{name}"
    for name in (
        *("specversion", "id", "source", "type", "time", "streamversion", "dataschemaversion"),
        *("correlationid", "causationid", "traceparent", "replyto", "outcome"),
    )
) | {"content-type", "traceparent"}
_ERROR = 60  # characters of an error in a table
_DEEPEST = 200  # levels of JSON within JSON
_NOTHING = object()


def table(letters: Sequence[Filed], left: int, *, more: bool) -> None:
    """Print one line a letter."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("id", "parked by", "stream", "version", "type", "cause", "tries", "age", "error"):
        shown.add_column(column, justify="right" if column in ("id", "version", "tries", "age") else "left")
    for letter in letters:
        shown.add_row(
            *_row(letter.id, letter.parked_by, letter.stream, letter.version, letter.type, cause(letter)),
            *_row(letter.attempts, ago(letter.parked_at), _short(letter.error)),
        )
    _print(shown)
    if left > 0 or more:
        _print(f"... and {'at least ' if more else ''}{left:,} more (--limit)")


def cause(letter: Filed) -> str:
    """Say why a letter is there, and whether something is about to be done."""
    if letter.stale:
        return f"{letter.cause}, replaced by a rebuild"
    return f"{letter.cause}, redrive asked by {letter.asked_by}" if letter.asked_by else letter.cause


def in_full(letter: Filed, *, payload: bool) -> str:
    """Return a letter line by line."""
    facts = as_json(letter, payload=payload)
    headers = facts.pop("headers") or {}
    return _lines({name.replace("_", " "): value for name, value in facts.items()} | headers)


def action_in_full(action: Action) -> str:
    """Return what was done line by line, with what the event said."""
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
    told = {"detail": _masked_text(letter.detail, payload=payload), "data": shown(letter.data, payload=payload)}
    return msgspec.to_builtins(facts | told)  # type: ignore[no-any-return]


def action_as_json(action: Action, *, payload: bool) -> dict[str, Any]:
    """Return what was done as an object for a script."""
    data = {name: shown(getattr(action, name), payload=payload) for name in ("data", "new_data")}
    data["detail"] = _masked_text(action.detail, payload=payload)
    return msgspec.to_builtins(msgspec.structs.asdict(action) | data)  # type: ignore[no-any-return]


def actions_table(actions: Sequence[Action]) -> None:
    """Print one line an action."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("at", "who", "action", "letter", "parked by", "stream", "version", "was", "result"):
        shown.add_column(column, justify="right" if column in ("letter", "version") else "left")
    for action in actions:
        shown.add_row(
            *_row(f"{action.at:%Y-%m-%d %H:%M:%S}", action.actor, action.action, action.letter, action.parked_by),
            *_row(action.stream, action.version, f"{action.cause}: {_short(action.error)}", action.result),
        )
    _print(shown)


def shown(data: bytes | None, *, payload: bool) -> Any:  # noqa: ANN401 JSON of any shape
    """Return an event's data, its values masked unless asked for; what is no JSON as text, or as its size."""
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
    """Return whether JSON can be printed: what nests deeper than Python's own functions take is shown as text."""
    level = [value]
    for _ in range(_DEEPEST):
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
    """Keep the names of the fields: they are the code's. What is inside may be anybody's, names too."""
    return dict.fromkeys(value, MASK) if isinstance(value, dict) else MASK


def _masked_text(text: str | None, *, payload: bool) -> str | None:
    return text if payload or text is None else MASK


def _short(error: str) -> str:
    line = error.partition("\n")[0]
    return line if len(line) <= _ERROR else line[: _ERROR - 3] + "..."


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _row(*cells: object) -> list[str]:
    """Let no message of a stranger write on the terminal what it likes."""
    return ["".join(c if c.isprintable() else "\ufffd" for c in str(cell)) for cell in cells]


def _print(what: object) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 250  # a pipe has no width: nothing is cut off
    console.print(what)
