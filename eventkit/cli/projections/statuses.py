"""The status of projections as a table, or in sentences."""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any

from eventkit.cli.common.output import cell
from eventkit.cli.common.pausing import by_whom
from eventkit.cli.common.tables import add_row, new_table, show
from eventkit.insights import STATUS_LIMIT, Status
from eventkit.observability.durations import in_largest_unit
from eventkit.storage.projections import HandlerWait

_PARTS = ("attempts", "backoff", "park_on", "wait_for", "opens_after", "probes", "timeout")  # of a policy


def print_table(found: Sequence[Status]) -> None:
    """Print one line for each projection."""
    numbers = ("version", "generation", "streams", "behind", "parked", "letters")
    table = new_table("projection", *numbers, "state", right=numbers)
    for item in found:
        counts = (item.version, item.generation, f"{_about(item)}{item.streams:,}")
        lag = "-" if item.lag is None else f"{'~' if item.lag.more else ''}{item.lag.events:,}"
        rest = (lag, _capped(item.parked), _capped(sum(item.letters.values())), _state(item))
        add_row(table, item.name, *counts, *rest)
    show(table)


def sentences(item: Status) -> str:
    """Return the full status of one projection, in lines."""
    lines = [
        f"{item.name}: version {item.version}, generation {item.generation}",
        f"  tables    {', '.join(item.tables) or 'not declared'}",
        f"  streams   {_about(item)}{item.streams:,}, {_capped(item.parked)} of them parked",
        f"  behind    {_lag(item)}",
    ]
    if item.letters:
        first = "of the first: " if sum(item.letters.values()) > STATUS_LIMIT and not item.exact else ""
        lines.append("  letters   " + first + ", ".join(f"{count:,} {cause}" for cause, count in item.letters.items()))
    if item.paused is not None:
        lines.append(_wrapped("paused", by_whom(item.paused).strip()))
    if building := _building(item):
        lines.append(f"  building  {building}")
    lines += [_wrapped("waits" if wait.is_open else "retries", waiting(wait)) for wait in item.waits]
    lines += [_wrapped("policy", text) for text in policies(item.retry)]
    return "\n".join(lines)


def _state(item: Status) -> str:
    """Return that a projection is paused or built anew."""
    paused = f"paused by {item.paused.paused_by}" if item.paused else ""
    return "; ".join(filter(None, (paused, _building(item))))


def waiting(wait: HandlerWait) -> str:
    """Return why a handler's events wait, since when, and the time of the next attempt."""
    many = f"{wait.streams:,} stream{'' if wait.streams == 1 else 's'}"
    state = f"breaker open, {many} wait" if wait.is_open else f"{many} tried again one by one"
    soon = f"next in {age(wait.next_in)}" if wait.next_in > 0 else "next at once"
    since = f"since {wait.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC ({age(wait.seconds)})"
    tries = f"{wait.attempts:,} attempt{'' if wait.attempts == 1 else 's'}, {soon}"
    return f"{wait.type} ({wait.handler}): {state} {since}, {tries}: {wait.reason}; process {wait.process}"


def policies(retry: dict[str, Any]) -> Iterator[str]:
    """Yield the differences from the default policy, for each handler that has any."""
    default = retry.get("default", {})
    for handler in retry.get("handlers", ()):
        parts = [_part(name, handler[name]) for name in _PARTS if name in default and handler[name] != default[name]]
        if parts:
            yield f"{handler['type']}: {', '.join(parts)}"


def _part(name: str, value: Any) -> str:  # noqa: ANN401 JSON
    if name in ("backoff", "probes"):
        value = f"{value['first']:g} to {value['most']:g} s, factor {value['factor']:g}, jitter {value['jitter']:g}"
    elif isinstance(value, list):
        value = " ".join(value)
    elif name == "timeout":
        value = f"{value:g} s"
    return f"{name} {value}"


def age(seconds: float) -> str:
    """Return seconds in the largest unit that gives a number of at least two."""
    count, unit = in_largest_unit(seconds)
    return f"{count:,.0f} {unit}"


def _wrapped(label: str, text: str) -> str:
    """Return a labelled text, wrapped for a terminal of 80 columns."""
    first, more = f"  {label:10}", " " * 12
    return textwrap.fill(cell(text), 80, initial_indent=first, subsequent_indent=more, break_on_hyphens=False)


def _lag(item: Status) -> str:
    if item.lag is None:
        return "unknown: it has applied nothing yet"
    source = "samples of the events" if item.lag.more else "the newest events"
    newest = "" if item.lag.exact else f", as {source} say (--exact reads all streams)"
    if not item.lag.events:
        return f"nothing{newest}"
    more = "about " if item.lag.more else ""
    counts = f"{more}{item.lag.events:,} events" + ("" if item.lag.more else f" of {item.lag.streams:,} streams")
    return f"{counts}, the oldest {item.lag.seconds:,.1f} s old{newest}"


def _about(item: Status) -> str:
    return "" if item.exact or item.streams <= STATUS_LIMIT else "about "


def _capped(count: int) -> str:
    """Return a count, or `N+` where counting stopped at the limit."""
    return f"{STATUS_LIMIT:,}+" if count == STATUS_LIMIT + 1 else f"{count:,}"


def _building(item: Status) -> str | None:
    new = item.building
    if new is None:
        return None
    share = f"{100 * new.done / new.total:.0f} %" if new.total else "0 %"
    return f"version {new.declared_version} as generation {new.generation}, {share} of {new.total:,} events"
