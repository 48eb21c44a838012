"""The letters of events that cannot go on, as they are written and as they are taken up again.

Why an event failed is written in two parts: `error`, which may be shown and logged anywhere, and `detail`, what the
error itself says, which may quote the event and is masked as the event's data is.
"""

from collections.abc import Iterable
from typing import NamedTuple

from eventkit.projection.batch import Arrival
from eventkit.storage.dead_letters import BEHIND, Kept, Letter


class Why(NamedTuple):
    """Why an event is parked."""

    cause: str
    error: str
    detail: str | None = None


def letter(arrival: Arrival, why: Why, attempts: int = 1) -> Letter:
    """Write an event's letter."""
    kind = arrival.kind[1] or ""
    name = kind if isinstance(kind, str) else kind.decode(errors="backslashreplace")
    return Letter(arrival.version, arrival.uuid, name, why.cause, why.error, attempts, arrival.message, why.detail)


def waiting(arrival: Arrival, failing: Arrival | None = None) -> Letter:
    """Write the letter of an event that waits for another."""
    error = f"waits for version {failing.version}" if failing else "waits for the letters before it"
    return letter(arrival, Why(BEHIND, error), 0)


def arrivals_of(stream: str, kept: Iterable[Kept]) -> list[Arrival]:
    """Make arrivals of letters."""
    return [Arrival(stream, one.version, one.message) for one in kept]
