"""The commands `pause` and `resume`, of projections and of topics at the relay."""

import json
from datetime import UTC
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from eventkit.cli.common.durations import ago
from eventkit.cli.common.operator import acting_user
from eventkit.cli.common.output import say
from eventkit.config import Settings

if TYPE_CHECKING:
    from eventkit.storage.pauses import Kind, Pause, PauseOutcome

_NEXT = {
    "projection": "its projectors stop within a second; events wait at the broker, or in the store",
    "topic": "the relay sends nothing more to it within a second; its events wait in the outbox",
}
_SHORT = {
    ("pause", "projection"): "Pause a projection: it applies nothing.",
    ("resume", "projection"): "Resume a paused projection.",
    ("pause", "topic"): "Leave a topic's events in the outbox.",
    ("resume", "topic"): "Send a paused topic's events again.",
}
_HELP = {
    ("pause", "projection"): """Let a projection's projectors apply nothing until it is resumed, also after restarts.

    The batch under way ends. The processes keep running, leave the consumer group, and events wait at the broker or in
    the store. A rebuild is not stopped. A projection that appends apply inline is refused: an append cannot wait.
    """,
    ("resume", "projection"): """Let a paused projection's projectors apply events again, from where they stopped.

    They notice it within a second.
    """,
    ("pause", "topic"): """Let the relay leave a topic's events in the outbox until it is resumed, also after restarts.

    Events in flight are still sent. Events of other topics are sent as ever.
    """,
    ("resume", "topic"): """Let the relay send a paused topic's events again, in order, from the first unsent one.

    It notices it within a second.
    """,
}


def pausing(action: Literal["pause", "resume"], kind: "Kind", examples: str) -> click.Command:
    """Return the command that pauses, or resumes, projections or topics."""

    @click.command(name=action, help=_HELP[action, kind], short_help=_SHORT[action, kind], epilog=examples)
    @click.argument("name", metavar="TOPIC" if kind == "topic" else "NAME")
    @click.option("--reason", default="", metavar="TEXT", help="Why, for the record and for others who look.")
    @click.option("--as", "actor", metavar="NAME", help="The actor for the record (default: your user's name).")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")
    @click.pass_obj
    def command(settings: Settings, name: str, *, reason: str, actor: str | None, as_json: bool) -> None:
        outcome = _act(settings, action, kind, name, actor=actor or acting_user(), reason=reason)
        if as_json:
            now = msgspec.to_builtins(outcome.pause if action == "pause" else None)
            say(json.dumps({"kind": kind, "name": name, "changed": outcome.changed, "pause": now}))
        else:
            say(f"{kind} {name} is {_pause(kind, outcome) if action == 'pause' else _resume(outcome)}")

    return command


def _act(settings: Settings, action: str, kind: "Kind", name: str, *, actor: str, reason: str) -> "PauseOutcome":
    from eventkit.storage.db import connect
    from eventkit.storage.pauses import Pauses

    options = {"lock_timeout": "10s"}
    url = settings.require_database()
    with connect(url, name="pause", schema=settings.schema, autocommit=True, options=options) as connection:
        pauses = Pauses(connection, settings.schema)
        act = pauses.pause if action == "pause" else pauses.resume
        return act(kind, name, actor=actor, reason=reason)


def _pause(kind: "Kind", outcome: "PauseOutcome") -> str:
    if outcome.changed:
        return f"paused: {_NEXT[kind]}"
    return f"paused already{by_whom(outcome.pause)}; nothing was changed"


def _resume(outcome: "PauseOutcome") -> str:
    return f"resumed; it was paused{by_whom(outcome.pause)}" if outcome.changed else "not paused; nothing was changed"


def by_whom(pause: "Pause | None") -> str:
    """Return who has paused it, when and why."""
    if pause is None:
        return ""
    since = f"{pause.paused_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {ago(pause.paused_at)} ago"
    return f" by {pause.paused_by} ({since}){f': {pause.reason}' if pause.reason else ''}"
