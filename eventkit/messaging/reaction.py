"""The reaction of a process manager to one event: events and commands to append, deadlines to set and to cancel.

A reaction is checked at once, kept in memory, and written with its batch, in the transaction that handles the event.
The event is the cause of each appended event, and its time is the start of a relative deadline.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from eventkit.domain.envelope import Envelope
from eventkit.domain.stream import StreamId
from eventkit.messaging.deadlines import deadline_of, name_of
from eventkit.storage.events import EventStore, encode_entry

if TYPE_CHECKING:
    from eventkit.storage.entry import Entry
    from eventkit.storage.timers import Deadline


class Reaction:
    """The third argument of a process manager's handlers."""

    def __init__(self, store: EventStore, envelope: Envelope[Any]) -> None:
        self.envelope = envelope
        self.entries: list[Entry] = []
        self.timers: dict[tuple[str, str], Deadline | None] = {}  # by stream and name; None cancels
        self._store = store.following(envelope)

    def append(self, stream: StreamId | str, *events: object) -> None:
        """Append events or commands to a stream; a command is an event of its handlers' category."""
        self.entries.append(encode_entry(self._store, stream, *events))

    def deadline(
        self, stream: StreamId | str, event: object, due: timedelta | datetime, *, name: str | None = None
    ) -> None:
        """Append an event to a stream at a time, or a timedelta after the handled event was recorded."""
        at = self.envelope.recorded_at + due if isinstance(due, timedelta) else due
        deadline = deadline_of(self._store, stream, event, at, name=name)
        self.timers[deadline.stream, deadline.name] = deadline

    def cancel(self, stream: StreamId | str, which: type | str) -> None:
        """Cancel a deadline, by its event's class or its name.

        Its event may have been appended already, and come later: let the process's row decide whether it matters.
        """
        self.timers[name_of(self._store, stream, which)] = None
