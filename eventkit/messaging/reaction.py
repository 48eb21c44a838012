"""What a process manager does about one event: events and commands to append, deadlines to set and to cancel.

It is gathered in memory, checked when it is said, and written with the rest of the batch in the transaction that
handles the event. Everything follows the event: its story, and the time from which a deadline counts.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from eventkit.domain.envelope import Envelope
from eventkit.domain.stream import StreamId
from eventkit.messaging.deadlines import deadline_of, name_of
from eventkit.storage.events import ANY, EventStore

if TYPE_CHECKING:
    from eventkit.storage.entry import Entry
    from eventkit.storage.timers import Deadline


class Reaction:
    """The third argument of a process manager's handlers."""

    def __init__(self, store: EventStore, envelope: Envelope[Any]) -> None:
        """React to an event."""
        self.envelope = envelope
        self.entries: list[Entry] = []
        self.timers: dict[tuple[str, str], Deadline | None] = {}  # None: to be cancelled
        self._store = store.following(envelope)

    def append(self, stream: StreamId | str, *events: object) -> None:
        """Append events to a stream; a command is an event of the category that its handlers read."""
        self.entries.append(self._store.entries.one(stream, events, ANY, None, None))

    def deadline(
        self, stream: StreamId | str, event: object, due: timedelta | datetime, *, name: str | None = None
    ) -> None:
        """Let an event be appended to a stream at a time, or so long after the event that is handled was recorded."""
        at = self.envelope.recorded_at + due if isinstance(due, timedelta) else due
        deadline = deadline_of(self._store, stream, event, at, name=name)
        self.timers[deadline.stream, deadline.name] = deadline

    def cancel(self, stream: StreamId | str, which: type | str) -> None:
        """Cancel a deadline, by its event's class or its name.

        Its event may have been appended already, and come later: whether it still matters is in the process's row.
        """
        self.timers[name_of(self._store, stream, which)] = None
