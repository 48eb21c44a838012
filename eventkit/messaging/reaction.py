"""What a process manager does about one event: events and commands to append, deadlines to set and to cancel.

It is gathered in memory, checked when it is said, and written with the rest of the batch in the transaction that
handles the event. Everything follows the event: its story, and the time from which a deadline counts.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from eventkit.domain.envelope import Envelope
from eventkit.domain.stream import StreamId
from eventkit.messaging.deadlines import deadline_of, name_of
from eventkit.storage.append import ANY
from eventkit.storage.event_store import EventStore

if TYPE_CHECKING:
    from eventkit.storage.append_sql import Entry
    from eventkit.storage.timers import Deadline


class SetDeadline(NamedTuple):
    """A deadline that was set, as a test sees it."""

    stream: StreamId
    event: object
    due: datetime
    name: str


class Reaction:
    """The third argument of a process manager's handlers.

    `appended`, `deadlines` and `cancelled` say what was asked for, in that order, for tests.
    """

    def __init__(self, store: EventStore, envelope: Envelope[Any]) -> None:
        """React to an event."""
        self.envelope = envelope
        self.appended: list[tuple[StreamId, object]] = []
        self.deadlines: list[SetDeadline] = []
        self.cancelled: list[tuple[StreamId, str]] = []
        self.entries: list[Entry] = []
        self.timers: dict[tuple[str, str], Deadline | None] = {}  # None: to be cancelled
        self._store = store.following(envelope)

    def append(self, stream: StreamId | str, *events: object) -> None:
        """Append events to a stream; a command is an event of the category that its handlers read."""
        entry = self._store.entries.one(stream, events, ANY, None, None)
        self.entries.append(entry)
        self.appended += [(entry.stream, event) for event in events]

    def deadline(
        self, stream: StreamId | str, event: object, due: timedelta | datetime, *, name: str | None = None
    ) -> None:
        """Let an event be appended to a stream at a time, or so long after the event that is handled was recorded."""
        at = self.envelope.recorded_at + due if isinstance(due, timedelta) else due
        deadline = deadline_of(self._store, stream, event, at, name=name)
        self.timers[deadline.stream, deadline.name] = deadline
        self.deadlines.append(SetDeadline(deadline.stream, event, at, deadline.name))

    def cancel(self, stream: StreamId | str, which: type | str) -> None:
        """Cancel a deadline, by its event's class or its name.

        Its event may have been appended already, and come later: whether it still matters is in the process's row.
        """
        place = name_of(self._store, stream, which)
        self.timers[place] = None
        self.cancelled.append(place)
