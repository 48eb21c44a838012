"""Words for amounts, durations and sessions, as a person reads them at night."""

from eventkit.insights.answers import Amount
from eventkit.insights.attention.observations import Observations
from eventkit.observability.durations import in_largest_unit

_UNITS = {"s": "s", "min": "minutes", "h": "hours", "d": "days"}


def some(amount: Amount, noun: str) -> str:
    """Return a number of things; an estimate says so."""
    plural = noun if amount.value == 1 else f"{noun}s"
    return f"{'' if amount.is_exact else 'about '}{amount.rounded:,} {plural}"


def are(amount: Amount) -> str:
    """Return the verb for a number of things."""
    return "is" if amount.value == 1 else "are"


def sentence(text: str) -> str:
    """Return a text with a capital at its start."""
    return text[:1].upper() + text[1:]


def lasting(seconds: float) -> str:
    """Return a duration, rounded to the unit that matters."""
    count, unit = in_largest_unit(max(seconds, 0))
    return f"{count:.0f} {_UNITS[unit]}"


def holding(seen: Observations, lease: str, what: str) -> str:
    """Return which session holds the lock of a lease."""
    holder = seen.lock_holders[lease]
    connected = f", connected for {lasting(seen.seconds(holder.connected_at))}" if holder.connected_at else ""
    return f"session {holder.pid} ({holder.application or 'without a name'}{connected}) holds the lock of {what}"


def ending(seen: Observations, lease: str) -> str:
    """Return the statement that ends the session which holds the lock of a lease."""
    return f"select pg_terminate_backend({seen.lock_holders[lease].pid})"
