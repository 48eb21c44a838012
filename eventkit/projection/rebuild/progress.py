"""The progress of a rebuild: reported at each step, and saved for `eventkit projection status` once a second."""

import threading
import time
from collections.abc import Callable

import msgspec

_SAVE_INTERVAL = 1.0  # seconds


class RebuildProgress(msgspec.Struct):
    """The stage of a rebuild and its count of events; `total` grows with appended events."""

    stage: str
    done: int = 0  # events
    total: int = 0


class ProgressReporter:
    """Counts the events of one rebuild; safe to use by several threads."""

    def __init__(
        self, report: Callable[[RebuildProgress], None], save: Callable[[int, int], None], *, total: int
    ) -> None:
        """Call `report` at every step, one thread at a time, and `save` with done and total once a second."""
        self._report = report
        self._save = save
        self._progress = RebuildProgress("begin", total=total)
        self._lock = threading.Lock()
        self._saved_at = 0.0

    @property
    def done(self) -> int:
        """The number of applied events."""
        return self._progress.done

    def expect(self, total: int) -> None:
        """Set the expected number of events."""
        self._progress.total = total

    def enter(self, stage: str) -> None:
        """Report the next stage."""
        self._progress.stage = stage
        self._report(self._progress)

    def count(self, events: int) -> None:
        """Add applied events, and report them."""
        with self._lock:
            self._progress.done += events
            self._progress.total = max(self._progress.total, self._progress.done)
            now = time.monotonic()
            if now - self._saved_at > _SAVE_INTERVAL:
                self._saved_at = now
                self._save(self._progress.done, self._progress.total)
            self._report(self._progress)
