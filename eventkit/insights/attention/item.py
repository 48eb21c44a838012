"""One thing that needs a person, and the paragraph of the troubleshooting page about it."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

PAGE = "docs/troubleshooting.md"

CODES = {  # of an item: the heading of its paragraph
    "installation_moved": "The database has moved",
    "no_relay": "No relay runs",
    "part_without_relay": "A part has no relay",
    "outbox_old": "Events wait in the outbox",
    "events_skipped": "The relay has skipped events",
    "topic_held": "A topic is held",
    "debezium_stands": "Debezium does not send",
    "switch_unfinished": "A switch has not ended",
    "slot_lost": "A replication slot keeps the log",
    "projection_without_process": "A projection has no process",
    "projection_waits": "A projection waits",
    "projection_stands": "A projection does not move",
    "projection_behind": "A projection is far behind",
    "projection_version": "A projection waits for its rebuild",
    "handler_waits": "A handler waits for a service",
    "dead_letters": "Dead letters",
    "parked_without_letter": "Streams are parked without a letter",
    "rebuild_stopped": "A rebuild has stopped",
    "no_timers": "No timers process runs",
    "timers_late": "Deadlines fire late",
    "process_gone": "A process is gone",
    "paused_long": "A pause lasts long",
    "inbox_large": "The inbox is large",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Something that an operator has to look at, and the command that mends it, or shows more."""

    urgency: Literal["critical", "warning"]
    code: str  # one of CODES
    title: str
    text: str
    since: datetime | None
    subject: str
    action: str  # a command
    link: str  # to its paragraph in the documents


def anchor(code: str) -> str:
    """Return the anchor of a code's paragraph on the troubleshooting page."""
    return CODES[code].lower().replace(" ", "-")


def critical(
    code: str, title: str, text: str, *, subject: str, action: str, since: datetime | None = None
) -> Attention:
    """Return an item that cannot wait: events of many streams do not arrive, or are in danger."""
    return Attention(
        urgency="critical",
        code=code,
        title=title,
        text=text,
        since=since,
        subject=subject,
        action=action,
        link=f"{PAGE}#{anchor(code)}",
    )


def warning(code: str, title: str, text: str, *, subject: str, action: str, since: datetime | None = None) -> Attention:
    """Return an item that can wait for the morning."""
    item = critical(code, title, text, subject=subject, action=action, since=since)
    return replace(item, urgency="warning")
