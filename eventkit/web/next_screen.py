"""Which screen shows more about something that is wrong."""

from typing import TYPE_CHECKING

from eventkit.insights import Attention

if TYPE_CHECKING:
    from eventkit.web.visit import Visit

# by the first word of the code
_SCREENS = {
    "relay": ("Open the relay", "relay"),
    "topic": ("Open the relay", "relay"),
    "outbox": ("Open the relay", "relay"),
    "part": ("Open the relay", "relay"),
    "process": ("Open the processes", "processes"),
    "timers": ("Open the deadlines", "processes"),
    "deadlines": ("Open the deadlines", "processes"),
    "projection": ("Open the projections", "projections"),
    "dead": ("Open the letters", "letters"),
    "letters": ("Open the letters", "letters"),
}


def next_screen(visit: "Visit", item: Attention) -> tuple[str, str] | None:
    """Return the label and the address of the screen."""
    word = item.code.replace("_", "-").partition("-")[0]
    if word not in _SCREENS:
        return None
    label, name = _SCREENS[word]
    return label, visit.url(name)
