"""How the statuses of projections are shown: as a table, or in sentences."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from eventkit.cli.output import cell
from eventkit.projection.status import Status


def print_table(found: Sequence[Status]) -> None:
    """Print one line a projection."""
    table = Table(box=None, pad_edge=False)
    for heading in ("projection", "version", "generation", "streams", "behind", "parked", "letters", "building"):
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("projection", "building") else "right")
    for item in found:
        numbers = (item.version, item.generation, item.streams)
        lag = "-" if item.lag is None else f"{item.lag.events:,}"
        rest = (lag, item.parked, sum(item.letters.values()), _building(item) or "")
        table.add_row(*map(cell, (item.name, *numbers, *rest)))
    Console(soft_wrap=True, highlight=False, markup=False, emoji=False).print(table)


def sentences(item: Status) -> str:
    """Tell all of one."""
    lines = [
        f"{item.name}: version {item.version}, generation {item.generation}",
        f"  tables    {', '.join(item.tables) or 'not declared'}",
        f"  streams   {item.streams:,}, {item.parked:,} of them parked",
        f"  behind    {_lag(item)}",
    ]
    if item.letters:
        lines.append("  letters   " + ", ".join(f"{count:,} {cause}" for cause, count in item.letters.items()))
    if building := _building(item):
        lines.append(f"  building  {building}")
    return "\n".join(lines)


def _lag(item: Status) -> str:
    if item.lag is None:
        return "unknown: it has applied nothing yet"
    if not item.lag.events:
        return "nothing"
    return f"{item.lag.events:,} events of {item.lag.streams:,} streams, the oldest {item.lag.seconds:,.1f} s old"


def _building(item: Status) -> str | None:
    new = item.building
    if new is None:
        return None
    share = f"{100 * new.done / new.total:.0f} %" if new.total else "0 %"
    return f"version {new.declared_version} as generation {new.generation}, {share} of {new.total:,} events"
