"""How far a rebuild is, on stderr: a bar with rate and time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eventkit.cli.common.output import remark
from eventkit.observability import logs
from eventkit.projection.rebuild import RebuildProgress

_LINE = 5.0  # seconds between lines

Tell = Callable[[RebuildProgress], None]


@contextmanager
def shown(name: str) -> Iterator[Tell]:
    """Lend a function that shows progress until the end."""
    with _bar(name) if sys.stderr.isatty() and not logs.is_json() else _lines(name) as tell:
        yield tell


@contextmanager
def _bar(name: str) -> Iterator[Tell]:
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

        def tell(told: RebuildProgress) -> None:
            total = max(told.total, 1)
            bar.update(task, description=told.stage, completed=told.done, total=total, rate=pace.rate(told.done))

        yield tell


@contextmanager
def _lines(name: str) -> Iterator[Tell]:
    pace, last, stage = _Pace(), time.monotonic(), ""

    def tell(told: RebuildProgress) -> None:
        nonlocal last, stage
        if told.stage == stage and time.monotonic() - last < _LINE:
            return
        last, stage = time.monotonic(), told.stage
        rate = pace.rate(told.done)
        left = f", {(told.total - told.done) / rate:,.0f} s left" if rate and told.done < told.total else ""
        remark(f"{name}: {stage}, {told.done:,} of {told.total:,} events, {rate:,.0f}/s{left}")

    yield tell


class _Pace:
    """Events per second since the beginning."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def rate(self, done: int) -> float:
        return done / max(time.monotonic() - self._started, 0.001)
