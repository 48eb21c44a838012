"""Which screen shows more about something that is wrong."""

from typing import TYPE_CHECKING

from eventkit.insights import Attention

if TYPE_CHECKING:
    from eventkit.web.visit import Visit

# The screen of each code; that of a projection, where the subject is its name.
_RELAY = ("Open the relay", "relay")
_PROCESSES = ("Open the processes", "processes")
_SYSTEM = ("Open the system", "system")
_PROJECTION = ("Open the projection", "projection")
SCREENS = {
    "installation_moved": _SYSTEM,
    "no_relay": _RELAY,
    "part_without_relay": _RELAY,
    "outbox_old": _RELAY,
    "events_skipped": _RELAY,
    "topic_held": _RELAY,
    "debezium_stands": _RELAY,
    "switch_unfinished": _RELAY,
    "slot_lost": _SYSTEM,
    "projection_without_process": _PROJECTION,
    "projection_waits": _PROJECTION,
    "projection_stands": _PROJECTION,
    "projection_behind": _PROJECTION,
    "projection_version": _PROJECTION,
    "handler_waits": _PROJECTION,
    "dead_letters": ("Open the letters", "letter_list"),
    "parked_without_letter": _PROJECTION,
    "rebuild_stopped": _PROJECTION,
    "no_timers": _PROCESSES,
    "timers_late": _PROCESSES,
    "process_gone": _PROCESSES,
    "paused_long": _PROJECTION,
    "inbox_large": _SYSTEM,
}


def next_screen(visit: "Visit", item: Attention) -> tuple[str, str]:
    """Return the label and the address of the screen."""
    label, name = SCREENS.get(item.code, _SYSTEM)
    if item.code == "paused_long" and " relay " in f" {item.action} ":  # a topic and no projection
        label, name = _RELAY
    if name == "letter_list":
        parked_by, cause, category = item.subject.rsplit("/", 2)
        return label, visit.url(name, ask={"parked_by": parked_by, "cause": cause, "category": category})
    return label, visit.url(name, ask={"name": item.subject} if name == "projection" else {})
