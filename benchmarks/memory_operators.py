"""What operators do to one stream of large events: a park, lists with their data, a redrive, an archive, a restore."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.memory_watch import CLI, peak
from benchmarks.orders import ItemOrdered, Totals, catalog, metadata
from eventkit import Retry, TableProjection
from tests.storage.pruned import maintenance_role

STREAM = "order-0"
_FAILS = "BENCHMARK_PARKS"  # a variable of the environment
_PATH = "benchmarks.memory_operators:stubborn"

stubborn = TableProjection(
    "stubborn", catalog, table=metadata.tables["order_totals"], key="order", retry=Retry(attempts=1)
)


@stubborn.on(ItemOrdered)
def ordered(row: Totals, event: ItemOrdered) -> None:
    """Count an order; fail where the environment says so."""
    if _FAILS in os.environ:
        raise ValueError(event.order)
    row.orders += 1
    row.amount += event.amount


def of_operator(url: str, fill: Callable[[], None]) -> Iterator[tuple[str, float]]:
    """Yield the peaks of commands, over one stream that is parked at its first event."""
    fill()
    projecting = (CLI, "projector", "run", _PATH, "--from", "store", "--until-idle", "1")
    yield "park", peak(url, *projecting, more={_FAILS: "1"})
    yield "letters", peak(url, CLI, "dead-letters", "list", "--payload", "--json", "--limit", "10000")
    yield "find", peak(url, CLI, "events", "find", "--payload", "--json", "--limit", "10000")
    yield "redrive", peak(url, CLI, "dead-letters", "redrive", "--all", "--yes", "--code", _PATH)
    with maintenance_role(url), tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "archive")
        yield "archive", peak(url, CLI, "events", "archive", STREAM, "--to", file, "--yes")
        yield "restore", peak(url, CLI, "events", "restore", file)
        yield "prune", peak(url, CLI, "events", "prune", "--sent", "--older-than", "0s", "--yes")
