"""Words for amounts, durations, sessions and commands, as a person reads them at night."""

import re
import shlex

from eventkit.insights.answers import Amount, PartInsight
from eventkit.insights.attention.observations import Observations
from eventkit.observability.durations import in_largest_unit

_MODULE = "PACKAGE.MODULE"
_PATH = re.compile(r"[\w.]+:\w+")
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


def named(part: PartInsight) -> str:
    """Return the name of a part."""
    return f"part {part.number} of {part.of}"


def holding(seen: Observations, lease: str, what: str) -> str:
    """Return which session holds the lock of a lease."""
    holder = seen.lock_holders[lease]
    connected = f", connected for {lasting(seen.seconds(holder.connected_at))}" if holder.connected_at else ""
    return f"session {holder.pid} ({holder.application or 'without a name'}{connected}) holds the lock of {what}"


def ending(seen: Observations, lease: str) -> str:
    """Return the command that ends the session which holds the lock of a lease."""
    return psql(f"select pg_terminate_backend({seen.lock_holders[lease].pid})")


def psql(statement: str) -> str:
    """Return the command that runs a statement; it may hold single quotes."""
    quote = '"' if "'" in statement else "'"
    return f'psql "$EVENTKIT_DATABASE_URL" -c {quote}{statement}{quote}'


def restart(seen: Observations, projection: str) -> str | None:
    """Return the command that started the last process of a projection; None where it is not known."""
    arguments = _arguments(seen, projection)
    return f"eventkit projector run {shlex.join(arguments)}" if arguments else None


def place(seen: Observations, projection: str) -> str:
    """Return the import path of a projection as a process has named it, or the form of one."""
    paths = [word for word in _arguments(seen, projection) if _PATH.fullmatch(word)]
    of_this = [path for path in paths if path.endswith(f":{projection}")] or paths
    return of_this[0] if len(of_this) == 1 else f"{_MODULE}:{projection}"


def explained(command: str) -> str:
    """Return a sentence about the module of a command that has no import path; nothing if it has one."""
    return f" {_MODULE} is the module of your code that has the projection." if _MODULE in command else ""


def _arguments(seen: Observations, projection: str) -> list[str]:
    """Return the arguments of the last process that ran a projection."""
    ran = [each for each in seen.processes if projection in (each.state.get("projections") or {})]
    known = [each for each in ran if isinstance(each.state.get("arguments"), list)]
    last = max(known, key=lambda each: each.seen_at, default=None)
    return [] if last is None else [str(word) for word in last.state["arguments"]]
