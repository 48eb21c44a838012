"""Words for amounts and durations, as a person reads them at night."""

from eventkit.insights.answers import Amount

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def some(amount: Amount, noun: str) -> str:
    """Return a number of things; an estimate says so."""
    plural = noun if amount.value == 1 else f"{noun}s"
    return f"{'' if amount.is_exact else 'about '}{amount.value:,} {plural}"


def lasting(seconds: float) -> str:
    """Return a duration, rounded to the unit that matters."""
    if seconds < 2 * _MINUTE:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} minutes"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.0f} hours"
    return f"{seconds / _DAY:.0f} days"
