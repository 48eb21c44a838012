"""Where an aggregate is: its stream, the version that is stored, and what was recorded since it was loaded."""

from typing import Any

import msgspec

from eventkit.domain.stream import StreamId
from eventkit.errors import AggregateError


class Track(msgspec.Struct):
    """What a repository must know about an aggregate besides its state."""

    stream: StreamId | None = None
    version: int = 0
    snapshot: int = 0  # the version of the snapshot that it was loaded from; 0: none
    evolving: int | None = None  # the version of the event that the state is evolved by now
    deferred: int = 0  # how many of the recorded events, the last ones, change the state when they are stored
    recorded: list[Any] = msgspec.field(default_factory=list)


class Tracked:
    """What a repository loads and saves."""

    __slots__ = ("_track",)
    _track: Track

    @property
    def stream(self) -> StreamId | None:
        """The stream that it was loaded from, None where it was made by hand."""
        return self._track.stream

    @property
    def version(self) -> int:
        """The stream's version when it was loaded or last saved; 0: there is nothing yet.

        Inside of a function that evolves the state it is the version of the event, when recording as when loading.
        """
        evolving = self._track.evolving
        return self._track.version if evolving is None else evolving

    @property
    def recorded(self) -> tuple[Any, ...]:
        """What was recorded and not saved yet; not to be asked for while the state is evolved."""
        if self._track.evolving is not None:
            raise AggregateError(
                f"{type(self).__name__}.recorded was read while its state was evolved: it is empty when the aggregate "
                "is loaded, so the state would be another one; keep what the state depends on in the events"
            )
        return tuple(self._track.recorded)


def track_of(tracked: Tracked) -> Track:
    """Return it for the repository's own use."""
    return tracked._track  # noqa: SLF001 this module's class
