"""Where an aggregate is: its stream, the version that is stored, and what was recorded since it was loaded."""

from typing import Any

import msgspec

from eventkit.domain.stream import StreamId


class Track(msgspec.Struct):
    """What a repository must know about an aggregate besides its state."""

    stream: StreamId | None = None
    version: int = 0
    snapshot: int = 0  # the version of the snapshot that it was loaded from; 0: none
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
        """The stream's version when it was loaded or last saved; 0: there is nothing yet."""
        return self._track.version

    @property
    def recorded(self) -> tuple[Any, ...]:
        """What was recorded and not saved yet."""
        return tuple(self._track.recorded)


def track_of(tracked: Tracked) -> Track:
    """Return it for the repository's own use."""
    return tracked._track  # noqa: SLF001 this module's class
