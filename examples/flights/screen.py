"""The screen while the demo runs: three bars that follow each other, and a line for each incident."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

STAGES = ("written", "published", "projected")


class Screen:
    """Bars and lines on a console; without a terminal only the lines."""

    def __init__(self, console: Console, events: int) -> None:
        """Prepare a bar for each stage."""
        columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._bars = [self._progress.add_task(stage, total=events, start=False) for stage in STAGES]
        self._console = console

    def __enter__(self) -> Self:
        """Show the bars."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave them as they are."""
        self._progress.stop()

    def begin(self) -> None:
        """Start the clocks."""
        for bar in self._bars:
            self._progress.start_task(bar)

    def show(self, *counts: int) -> None:
        """Move the bars."""
        for bar, count in zip(self._bars, counts, strict=True):
            self._progress.update(bar, completed=count)

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._console.print(line, highlight=False)
