"""Results of an open loop: the laps of all contestants at all rates, as a table and as figures."""

from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import msgspec
from rich.table import Table

from benchmarks.measure import Sample

_SHARES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
_LATE = 10.0  # milliseconds: a write that began later than that was late
_MILLION = 1e6


class Load(msgspec.Struct, frozen=True):
    """So many events a second for so many seconds, after a warm-up that counts for nothing."""

    rate: int
    seconds: float
    warm: float

    @property
    def events(self) -> int:
        """All of them."""
        return max(int(self.rate * (self.warm + self.seconds)), self.counted + 1)

    @property
    def counted(self) -> int:
        """The first that counts."""
        return int(self.rate * self.warm)


class Writing(msgspec.Struct, frozen=True):
    """The times of a writer, event by event, in nanoseconds: the start, and the return of `commit()`."""

    begun: "array[int]"
    committed: "array[int]"


class Receipt(msgspec.Struct, frozen=True):
    """When each event came first, 0 for never; how many came again, how many after a later one of their stream."""

    received: "array[int]"
    repeated: int
    reordered: int


class Lap(msgspec.Struct, frozen=True):
    """The result of one load. Latencies are milliseconds from the return of `commit()` to the receipt, ascending."""

    load: Load
    latencies: Sequence[float]
    late: int  # writes that began more than 10 ms behind their schedule
    behind: float  # milliseconds, of the latest of them
    lost: int
    repeated: int
    reordered: int

    def percentile(self, share: float) -> float:
        """Return the latency that a share of the events did not exceed."""
        return self.latencies[min(int(len(self.latencies) * share), len(self.latencies) - 1)]


def summary(load: Load, begin: int, writings: Sequence[Writing], receipt: Receipt) -> Lap:
    """Combine the times of the receiver and of the writers, each of which wrote every n-th event."""
    count = len(writings)
    begun, committed = array("q", bytes(8 * load.events)), array("q", bytes(8 * load.events))
    for nth, writing in enumerate(writings):
        begun[nth::count], committed[nth::count] = writing.begun, writing.committed
    counted = range(load.counted, load.events)
    behind = [(begun[nth] - begin - nth * 1e9 / load.rate) / _MILLION for nth in counted]
    arrived = [nth for nth in counted if receipt.received[nth]]
    if not arrived:
        raise RuntimeError(f"none of {len(counted)} events has arrived")
    return Lap(
        load=load,
        latencies=sorted((receipt.received[nth] - committed[nth]) / _MILLION for nth in arrived),
        late=sum(each > _LATE for each in behind),
        behind=max(behind),
        lost=receipt.received.count(0),
        repeated=receipt.repeated,
        reordered=receipt.reordered,
    )


class Laps:
    """The laps of all rounds, each with the resources that the contestant used meanwhile."""

    def __init__(self) -> None:
        """Know none yet."""
        self._laps: dict[tuple[str, int], list[tuple[Lap, Sample]]] = defaultdict(list)

    def add(self, contestant: str, lap: Lap, sample: Sample) -> None:
        """Take one in."""
        self._laps[contestant, lap.load.rate].append((lap, sample))

    def percentiles(self, contestant: str, rate: int, share: float) -> list[float]:
        """Return a percentile of each round, in milliseconds."""
        return [lap.percentile(share) for lap, _ in self._laps[contestant, rate]]

    def sum(self, contestant: str, what: Callable[[Lap], int]) -> int:
        """Return the sum over all laps of a contestant, as of its lost events."""
        return sum(what(lap) for (name, _), laps in self._laps.items() if name == contestant for lap, _ in laps)

    def figures(self, contestant: str, rate: int, name: str) -> dict[str, Any]:
        """Return the medians of the percentiles: `p50_ms_<name>` and so on."""
        return {f"{key}_ms_{name}": median(self.percentiles(contestant, rate, s)) for key, s in _SHARES.items()}

    def panels(self) -> dict[str, dict[str, list[float]]]:
        """Return the percentiles of all rounds, by rate, as they are drawn."""
        panels: dict[str, dict[str, list[float]]] = defaultdict(dict)
        for contestant, rate in self._laps:
            for key, share in _SHARES.items():
                panels[f"{rate:,} a second"][f"{contestant}, {key}"] = self.percentiles(contestant, rate, share)
        return panels

    def table(self, title: str) -> Table:
        """Return the figures of every contestant at every rate."""
        table = Table(title=title, title_justify="left")
        table.add_column("events/s", no_wrap=True)
        for name in ("p50 ms", "p99 ms", "p99.9 ms", "late", "by ms", "CPU s", "peak MB"):
            table.add_column(name, justify="right")
        for (contestant, rate), laps in self._laps.items():
            table.add_row(
                f"{contestant}, {rate:,}",
                *(_spread(self.percentiles(contestant, rate, share)) for share in _SHARES.values()),
                f"{median(lap.late / len(lap.latencies) for lap, _ in laps):.1%}",
                f"{max(lap.behind for lap, _ in laps):.0f}",
                f"{median(sample.cpu_seconds for _, sample in laps):.2f}",
                f"{max(sample.memory_mb for _, sample in laps):.0f}",
            )
        return table


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.1f}\n{min(values):.1f}-{max(values):.1f}"
