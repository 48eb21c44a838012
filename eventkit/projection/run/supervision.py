"""Keeps one projection of a process running: its trouble is said, waited for, and nobody else's.

A database or a broker that is away is waited for. So is a deployment that is not as the code expects (a table that is
missing, a rebuild that is due): the projection stops with one sentence, and goes on by itself when it is mended. It
ends when it is asked to, when it was deleted, or, with `--until-idle`, when it was stopped for so long.
"""

import logging
import time

from eventkit.errors import EventkitError, ProjectionDeleted, ProjectionError, VersionMismatch
from eventkit.projection.failure import frames_of, said, translated
from eventkit.projection.run.runner import ProjectionRunner
from eventkit.worker import PASSING, Stop, Waits

logger = logging.getLogger("eventkit.projection")


class Supervised:
    """One projection; `error` is why it has ended, where it was not asked to."""

    def __init__(
        self, running: ProjectionRunner, *, name: str, until_idle: float | None = None, exit_on_rebuild: bool = False
    ) -> None:
        """Work with `running`, term after term; `exit_on_rebuild` raises VersionMismatch instead of waiting."""
        self.error: EventkitError | None = None
        self.name = name
        self._running = running
        self._until_idle = until_idle
        self._exit_on_rebuild = exit_on_rebuild
        self._waits = Waits(f"projector {name}")
        self._stopped: float | None = None  # since when, on the monotonic clock

    def work(self, stop: Stop) -> None:
        """Run the projection until it ends."""
        while not stop.is_set() and self.error is None:
            started = time.monotonic()
            applied = self._running.counters.applied
            try:
                self._running.work(stop)
            except Exception as error:  # noqa: BLE001 whatever it is, the other projections go on
                if self._running.counters.applied > applied:
                    self._stopped = None
                stop.wait(self._waits.failed(self._judged(error), worked=time.monotonic() - started))
            else:
                return

    def _judged(self, error: Exception) -> Exception:
        """Return what is said of an error; end here where there is nothing to wait for."""
        ours = translated(error)
        if isinstance(ours, PASSING):
            self._stopped = None
            return ours
        if isinstance(ours, VersionMismatch) and self._exit_on_rebuild:
            raise ours
        if not isinstance(ours, EventkitError):
            logger.error("projector %s: %s\n%s", self.name, said(ours), frames_of(ours))
            ours = ProjectionError(
                f"projection {self.name!r} has failed with {said(ours)}: please report this as a bug"
            )
        now = time.monotonic()
        self._stopped = self._stopped if self._stopped is not None else now
        waited_enough = self._until_idle is not None and now - self._stopped >= self._until_idle
        if waited_enough or isinstance(ours, ProjectionDeleted):
            self.error = ours
        return ours
