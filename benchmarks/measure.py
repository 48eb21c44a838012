"""Measurements of a contestant, and the table of several rounds."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table


class Sample(msgspec.Struct, frozen=True):
    """One contestant in one round; its processor seconds are of the measured time alone, its memory is the peak."""

    events: int
    seconds: float
    cpu_seconds: float
    memory_mb: float

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds


class Meter:
    """Reads the processor time and the peak memory of a process, this one or another."""

    def __init__(self, pid: int | None = None) -> None:
        """Begin to count."""
        self._folder = Path(f"/proc/{pid or 'self'}")
        self._before = self._cpu()

    def sample(self, events: int, seconds: float) -> Sample:
        """Return the resources used since."""
        peak = int((self._folder / "status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
        return Sample(events, seconds, self._cpu() - self._before, peak)

    def _cpu(self) -> float:
        user, system = (self._folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Rounds:
    """The samples of all contestants."""

    def __init__(self) -> None:
        """Know none yet."""
        self._samples: dict[str, list[Sample]] = defaultdict(list)

    def add(self, contestant: str, sample: Sample) -> None:
        """Take one in."""
        self._samples[contestant].append(sample)

    def all_rates(self) -> dict[str, list[float]]:
        """Return the rates of every contestant."""
        return {contestant: self.rates(contestant) for contestant in self._samples}

    def rates(self, contestant: str) -> list[float]:
        """Return a contestant's rates, round by round."""
        return [sample.rate for sample in self._samples[contestant]]

    def rate(self, contestant: str) -> float:
        """Return the median of a contestant's rates."""
        return median(self.rates(contestant))

    def peak(self, contestant: str) -> float:
        """Return the most memory a contestant has used in any round, in MB."""
        return max(sample.memory_mb for sample in self._samples[contestant])

    def ratio(self, contestant: str, other: str) -> float:
        """Return the median of the ratios of two contestants, each of one round."""
        return median(self.ratios(contestant, other))

    def ratios(self, contestant: str, other: str) -> list[float]:
        """Return the ratios of two contestants, each of one round, the smallest first."""
        return sorted(a / b for a, b in zip(self.rates(contestant), self.rates(other), strict=True))

    def table(self, title: str, compared: str, ratio: Callable[[str], float]) -> Table:
        """Return the figures of every contestant; `ratio` is relative to the contestant `compared`."""
        table = Table(title=title, title_justify="left")
        table.add_column("events/s", no_wrap=True)
        for name in ("median", "min", "max", compared, "CPU s", "peak MB"):
            table.add_column(name, justify="right")
        for name, samples in self._samples.items():
            rates = self.rates(name)
            table.add_row(
                name,
                *(f"{value:,.0f}" for value in (median(rates), min(rates), max(rates))),
                f"{ratio(name):.2f}",
                f"{median(sample.cpu_seconds for sample in samples):.2f}",
                f"{max(sample.memory_mb for sample in samples):.0f}",
            )
        return table


def show(table: Table, console: Console, *notes: str) -> None:
    """Print a table and the costs that its figures include."""
    console.print(table)
    for note in notes:
        console.print(note, style="dim", highlight=False)


def last_line(figures: Mapping[str, Any]) -> None:
    """Print the figures as one JSON object."""
    print(json.dumps({name: _rounded(value) for name, value in figures.items()}))


def _rounded(value: Any) -> Any:  # noqa: ANN401 any value of JSON
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value
