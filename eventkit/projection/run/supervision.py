"""Keep one projection of a process running: log its errors, wait, retry, and leave other projections alone.

It retries while a database or a broker is away. It also retries while the deployment does not match the code, as with
a missing table or a due rebuild: it logs one sentence and continues when that is repaired. It ends when it is stopped,
when the projection was deleted, or, with `--until-idle`, after so long without progress.
"""

import logging
import time

from eventkit.errors import EventkitError, ProjectionDeleted, ProjectionError, VersionMismatch
from eventkit.observability.liveness import loop
from eventkit.projection.failure import describe, frames_of, translated
from eventkit.projection.run.runner import ProjectionRunner
from eventkit.worker import PASSING, Stop, Waits

logger = logging.getLogger("eventkit.projection")


class Supervised:
    """One projection; `error` is set when it has ended by an error."""

    def __init__(
        self, runner: ProjectionRunner, *, name: str, until_idle: float | None = None, exit_on_rebuild: bool = False
    ) -> None:
        """Supervise `runner`; `exit_on_rebuild` raises VersionMismatch instead of waiting for a rebuild."""
        self.error: EventkitError | None = None
        self.name = name
        self._runner = runner
        self._until_idle = until_idle
        self._exit_on_rebuild = exit_on_rebuild
        self._waits = Waits(f"projector {name}")
        self._failing_since: float | None = None  # on the monotonic clock

    def work(self, stop: Stop) -> None:
        """Run the projection until it ends."""
        with loop(f"projector {self.name}"):
            self._work(stop)

    def _work(self, stop: Stop) -> None:
        while not stop.is_set() and self.error is None:
            started = time.monotonic()
            applied = self._runner.counters.applied
            try:
                self._runner.work(stop)
            except Exception as error:  # noqa: BLE001 no error of one projection ends the others
                if self._runner.counters.applied > applied:
                    self._failing_since = None
                known = self._handled(error)
                self._runner.wait_because(str(known))
                stop.wait(self._waits.failed(known, worked=time.monotonic() - started))
            else:
                return

    def _handled(self, error: Exception) -> Exception:
        """Return the error to log; set `self.error` if a retry is useless."""
        known = translated(error)
        if isinstance(known, PASSING):
            self._failing_since = None
            return known
        if isinstance(known, VersionMismatch) and self._exit_on_rebuild:
            raise known
        if not isinstance(known, EventkitError):
            logger.error("projector %s: %s\n%s", self.name, describe(known), frames_of(known))
            known = ProjectionError(
                f"projection {self.name!r} has failed with {describe(known)}: please report this as a bug"
            )
        now = time.monotonic()
        self._failing_since = self._failing_since if self._failing_since is not None else now
        waited_enough = self._until_idle is not None and now - self._failing_since >= self._until_idle
        if waited_enough or isinstance(known, ProjectionDeleted):
            self.error = known
        return known
