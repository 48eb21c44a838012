"""Progress of a rebuild on stderr: a bar with rate and time left on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from eventkit.cli.common.output import remark
from eventkit.heartbeat import Pace
from eventkit.observability import logs
from eventkit.projection.rebuild import RebuildProgress

_LINE_INTERVAL = 5.0  # seconds

Report = Callable[[RebuildProgress], None]


@contextmanager
def shown(name: str) -> Iterator[Report]:
    """Yield a function that shows progress; the display ends with the block."""
    with _bar(name) if sys.stderr.isatty() and not logs.is_json() else _lines(name) as report:
        yield report


@contextmanager
def _bar(name: str) -> Iterator[Report]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.fields[name]}: {task.description}", markup=False),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TextColumn("{task.completed:,.0f} of {task.total:,.0f} events, {task.fields[rate]:,.0f}/s"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("begin", total=1, name=name, rate=0.0)
        pace = _Pace()

        def report(now: RebuildProgress) -> None:
            total = max(now.total, 1)
            bar.update(task, description=now.stage, completed=now.done, total=total, rate=pace.rate(now.done))

        yield report


@contextmanager
def _lines(name: str) -> Iterator[Report]:
    pace, last, stage = _Pace(), time.monotonic(), ""

    def report(now: RebuildProgress) -> None:
        nonlocal last, stage
        if now.stage == stage and time.monotonic() - last < _LINE_INTERVAL:
            return
        last, stage = time.monotonic(), now.stage
        rate = pace.rate(now.done)
        left = f", {(now.total - now.done) / rate:,.0f} s left" if rate and now.done < now.total else ""
        remark(f"{name}: {stage}, {now.done:,} of {now.total:,} events, {rate:,.0f}/s{left}")

    yield report


class RebuildState:
    """The last progress of a rebuild, for its process's heartbeat."""

    def __init__(self, projection: str, report: Report) -> None:
        """Pass each progress on to `report`."""
        self._projection = projection
        self._report = report
        self._progress = RebuildProgress("begin")
        self._pace = Pace()

    def note(self, progress: RebuildProgress) -> None:
        """Keep the progress, and report it."""
        self._progress = progress
        self._report(progress)

    def now(self) -> dict[str, Any]:
        """Return the state."""
        at = self._progress
        rate = self._pace.of(at.done)
        return {"projection": self._projection, "stage": at.stage, "done": at.done, "total": at.total, "rate": rate}


class _Pace:
    """Events per second since the beginning."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def rate(self, done: int) -> float:
        return done / max(time.monotonic() - self._started, 0.001)
