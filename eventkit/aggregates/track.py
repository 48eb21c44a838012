"""The stream of an aggregate, its stored version, and the events recorded since it was loaded."""

from typing import Any

import msgspec

from eventkit.domain.stream import StreamId
from eventkit.errors import AggregateError


class Track(msgspec.Struct):
    """The data of a repository about an aggregate, besides its state."""

    stream: StreamId | None = None
    version: int = 0
    snapshot: int = 0  # the version of the snapshot that it was loaded from; 0: none
    evolving: int | None = None  # the version of the event that is changing the state
    deferred: int = 0  # the number of recorded events, the last ones, that change the state when they are stored
    recorded: list[Any] = msgspec.field(default_factory=list)


class Tracked:
    """An object that a repository loads and saves."""

    __slots__ = ("_track",)
    _track: Track

    @property
    def stream(self) -> StreamId | None:
        """The stream that it was loaded from, None if it was not made by a repository."""
        return self._track.stream

    @property
    def version(self) -> int:
        """The stream's version when it was loaded or last saved; 0: the stream does not exist.

        In an evolve method it is the version of the event, both when recording and when loading.
        """
        evolving = self._track.evolving
        return self._track.version if evolving is None else evolving

    @property
    def recorded(self) -> tuple[Any, ...]:
        """The recorded events that are not saved yet; reading it in an evolve method raises AggregateError."""
        if self._track.evolving is not None:
            raise AggregateError(
                f"{type(self).__name__}.recorded was read while its state was evolved: it is empty when the aggregate "
                "is loaded, so the state would be another one; keep what the state depends on in the events"
            )
        return tuple(self._track.recorded)


def track_of(tracked: Tracked) -> Track:
    """Return the track, for the repository; raise AggregateError for another object."""
    if not isinstance(tracked, Tracked):
        raise AggregateError(f"{tracked!r:.100} is no aggregate: give the one that the repository has loaded or made")
    return tracked._track  # noqa: SLF001 this module's class
