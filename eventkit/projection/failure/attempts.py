"""How often events were tried and failed, counted in memory: a restart begins again."""

from typing import NamedTuple

_MOST = 10_000  # streams; those that failed first are forgotten beyond it


class _Failing(NamedTuple):
    version: int
    attempts: int


class Attempts:
    """The counts of one projection in one process, of the one event of each stream that fails now."""

    def __init__(self) -> None:
        self._failing: dict[str, _Failing] = {}

    def failed(self, stream: str, version: int) -> int:
        """Count a failure; return how many there were at this event."""
        before = self._failing.pop(stream, None)
        count = before.attempts + 1 if before and before.version == version else 1
        if len(self._failing) >= _MOST:
            del self._failing[next(iter(self._failing))]
        self._failing[stream] = _Failing(version, count)
        return count

    def forget(self, stream: str) -> None:
        """Begin again: the event was applied, or parked."""
        self._failing.pop(stream, None)
