"""The reaction of a process manager to one event: events and commands to append, deadlines to set and to cancel.

A reaction is checked at once, kept in memory, and written with its batch, in the transaction that handles the event.
The event is the cause of each appended event, and its time is the start of a relative deadline. The reactions of a
batch are bounded by bytes: beyond them the batch is tried again in halves, down to a single event.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from eventkit.domain.envelope import Envelope
from eventkit.domain.stream import StreamId
from eventkit.errors import EventTooLarge
from eventkit.messaging.deadlines import deadline_of, name_of
from eventkit.storage.events import EventStore, encode_entry

if TYPE_CHECKING:
    from eventkit.domain.codec import Encoded
    from eventkit.storage.entry import Entry
    from eventkit.storage.timers import Deadline

T = TypeVar("T")
MAX_BYTES = 64_000_000  # of the reactions of one batch, of all lanes of a process together
PART_BYTES = 8_000_000  # of one statement
_EVENT_BYTES = 1_000  # of an appended event without its data: id, metadata, Python's objects


class ReactionRoom:
    """The bytes that the reactions of one batch may still take."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def take(self, size: int) -> None:
        """Take bytes; raise EventTooLarge if there are fewer left."""
        self._left -= size
        self.check()

    def give_back(self, size: int) -> None:
        """Give back the bytes of a reaction that is made again."""
        self._left += size

    def check(self) -> None:
        """Raise EventTooLarge if more was taken than there is: a handler may have caught the error."""
        if self._left < 0:
            raise EventTooLarge(
                f"the events and deadlines that a process manager makes from one event take more than "
                f"{self._most // 1_000_000} MB: react with one command whose handler appends them in parts"
            )


def weight(events: "Sequence[Encoded]") -> int:
    """Return the approximate bytes that encoded events take in memory."""
    return sum([len(event.data) + _EVENT_BYTES for event in events])


def in_parts(items: Sequence[T], *, key: Callable[[T], Any], size: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Yield items in parts of one statement each, by bytes; several parts are in the order in which rows are locked.

    A single item may exceed the bytes of a part; it is the last one of its part.
    """
    held = sum(map(size, items))
    if held > PART_BYTES:
        items = sorted(items, key=key)
    part: list[T] = []
    held = 0
    for item in items:
        part.append(item)
        held += size(item)
        if held > PART_BYTES:
            yield part
            part, held = [], 0
    if part:
        yield part


def pieces(entry: "Entry") -> "Iterator[Entry]":
    """Cut an entry into entries of the bytes of a part; each but the last one exceeds them a little."""
    first, held = 0, 0
    for end, event in enumerate(entry.events, start=1):
        held += weight([event])
        if held > PART_BYTES or end == len(entry.events):
            taken = slice(first, end)
            yield replace(entry, events=entry.events[taken], ids=entry.ids[taken], metadata=entry.metadata[taken])
            first, held = end, 0


class Reaction:
    """The third argument of a process manager's handlers."""

    def __init__(self, store: EventStore, envelope: Envelope[Any], room: ReactionRoom) -> None:
        self.envelope = envelope
        self.size = 0  # bytes
        self._room = room
        self.entries: list[Entry] = []
        self.timers: dict[tuple[str, str], Deadline | None] = {}  # by stream and name; None cancels
        self._store = store.following(envelope)

    def append(self, stream: StreamId | str, *events: object) -> None:
        """Append events or commands to a stream; a command is an event of its handlers' category."""
        entry = encode_entry(self._store, stream, *events)
        self._take(weight(entry.events))
        self.entries.append(entry)

    def deadline(
        self, stream: StreamId | str, event: object, due: timedelta | datetime, *, name: str | None = None
    ) -> None:
        """Append an event to a stream at a time, or a timedelta after the handled event was recorded."""
        at = self.envelope.recorded_at + due if isinstance(due, timedelta) else due
        deadline = deadline_of(self._store, stream, event, at, name=name)
        self._take(weight([deadline.event]))
        self.timers[deadline.stream, deadline.name] = deadline

    def cancel(self, stream: StreamId | str, which: type | str) -> None:
        """Cancel a deadline, by its event's class or its name.

        Its event may have been appended already, and come later: let the process's row decide whether it matters.
        """
        self.timers[name_of(self._store, stream, which)] = None

    def clear(self) -> None:
        """Drop everything: the batch is not written."""
        self.entries.clear()
        self.timers.clear()

    def _take(self, size: int) -> None:
        self.size += size
        self._room.take(size)
