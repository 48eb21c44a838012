"""How the statuses of projections are shown: as a table, or in sentences."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from eventkit.cli.common.output import cell
from eventkit.projection.status import FEW, Status


def print_table(found: Sequence[Status]) -> None:
    """Print one line a projection."""
    table = Table(box=None, pad_edge=False)
    for heading in ("projection", "version", "generation", "streams", "behind", "parked", "letters", "building"):
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("projection", "building") else "right")
    for item in found:
        numbers = (item.version, item.generation, f"{_about(item)}{item.streams:,}")
        lag = "-" if item.lag is None else f"{item.lag.events:,}{'+' if item.lag.more else ''}"
        rest = (lag, _capped(item.parked), _capped(sum(item.letters.values())), _building(item) or "")
        table.add_row(*map(cell, (item.name, *numbers, *rest)))
    Console(soft_wrap=True, highlight=False, markup=False, emoji=False).print(table)


def sentences(item: Status) -> str:
    """Tell all of one."""
    lines = [
        f"{item.name}: version {item.version}, generation {item.generation}",
        f"  tables    {', '.join(item.tables) or 'not declared'}",
        f"  streams   {_about(item)}{item.streams:,}, {_capped(item.parked)} of them parked",
        f"  behind    {_lag(item)}",
    ]
    if item.letters:
        first = "of the first: " if sum(item.letters.values()) > FEW and not item.exact else ""
        lines.append("  letters   " + first + ", ".join(f"{count:,} {cause}" for cause, count in item.letters.items()))
    if building := _building(item):
        lines.append(f"  building  {building}")
    return "\n".join(lines)


def _lag(item: Status) -> str:
    if item.lag is None:
        return "unknown: it has applied nothing yet"
    newest = "" if item.lag.exact else ", as the newest events say (--exact reads all streams)"
    if not item.lag.events:
        return f"nothing{newest}"
    more = "more than " if item.lag.more else ""
    counts = f"{more}{item.lag.events:,} events of {item.lag.streams:,} streams"
    return f"{counts}, the oldest {item.lag.seconds:,.1f} s old{newest}"


def _about(item: Status) -> str:
    return "" if item.exact or item.streams <= FEW else "about "


def _capped(count: int) -> str:
    """Show a count that goes no further where a look is not exact."""
    return f"{FEW:,}+" if count == FEW + 1 else f"{count:,}"


def _building(item: Status) -> str | None:
    new = item.building
    if new is None:
        return None
    share = f"{100 * new.done / new.total:.0f} %" if new.total else "0 %"
    return f"version {new.declared_version} as generation {new.generation}, {share} of {new.total:,} events"
