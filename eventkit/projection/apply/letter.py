"""Makes dead letters of events, and events of dead letters.

The reason has two parts. `error` may be shown and logged anywhere. `detail` is the error's own message, which may quote
the event; it is masked like the event's data.
"""

from collections.abc import Iterable
from typing import NamedTuple

from eventkit.observability.log_fields import LogFields
from eventkit.projection.batch import Arrival
from eventkit.storage.dead_letters import BEHIND, Kept, Letter


class Why(NamedTuple):
    """The reason for which an event is parked."""

    cause: str
    error: str
    detail: str | None = None


def letter(arrival: Arrival, why: Why, attempts: int = 1) -> Letter:
    """Return an event's dead letter."""
    kind = arrival.kind[1] or ""
    name = kind if isinstance(kind, str) else kind.decode(errors="backslashreplace")
    return Letter(arrival.version, arrival.uuid, name, why.cause, why.error, attempts, arrival.message, why.detail)


def event_fields(projection: str, arrival: Arrival, error_type: str) -> LogFields:
    """Return the log fields of an event's failure."""
    return {
        "projection": projection,
        "stream": arrival.stream,
        "version": arrival.version,
        "event_id": str(arrival.uuid),
        "error_type": error_type,
    }


def waiting(arrival: Arrival, failing: Arrival | None = None) -> Letter:
    """Return the dead letter of an event that waits behind `failing`, or behind earlier letters."""
    error = f"waits for version {failing.version}" if failing else "waits for the letters before it"
    return letter(arrival, Why(BEHIND, error), 0)


def arrivals_of(stream: str, kept: Iterable[Kept]) -> list[Arrival]:
    """Make arrivals of letters."""
    return [Arrival(stream, one.version, one.message) for one in kept]
