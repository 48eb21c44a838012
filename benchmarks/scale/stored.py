"""Appends to a database that holds many events already, beside one that holds none, in turns."""

from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.scale.curve import Curve
from benchmarks.scale.stage import Stage
from benchmarks.writers import PSYCOPG
from benchmarks.writing import Case, Writers

_WRITERS = 4


def stored(stage: Stage, sizes: Sequence[int], *, seconds: float) -> list[Curve]:
    """Append one event a transaction from four processes, to each database in every round."""
    rate = Curve("stored_appends_per_second", "appends, 4 writers", across="events stored", unit="events/s")
    with ExitStack() as open_:
        groups = {
            size: open_.enter_context(Writers(stage.store(size).url, processes=_WRITERS, seconds=seconds))
            for size in sizes
        }
        for number in range(stage.rounds):
            stage.say(f"appending beside {', '.join(f'{size:,}' for size in sizes)} events, round {number + 1}")
            for size, writers in groups.items():
                rate.add(size, writers.measure(PSYCOPG, Case(_WRITERS, 1)).rate)
    return [rate]
