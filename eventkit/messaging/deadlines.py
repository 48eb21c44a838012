"""Deadlines: an event that is appended when its time has come, unless it is cancelled before.

Set and cancelled in the caller's transaction, on whatever connection `EventStore.append` takes; fired by
`eventkit timers run`. A deadline is named by its stream and, where a stream has several, a name: that of its event's
type unless given. Setting it again moves it. Whether it fires or is cancelled is decided once: `cancel` says whether it
came in time.
"""

import re
from datetime import datetime, timedelta

from eventkit.domain.codec import shown
from eventkit.domain.stream import StreamId
from eventkit.errors import InvalidEvent
from eventkit.storage.db import Asynchronous, Executor, Steps, Synchronous
from eventkit.storage.events import ANY, EventStore, stream_of
from eventkit.storage.timers import Deadline, TimerSql, cancel_steps, set_steps

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:/ -]{0,199}")
_LONGEST = timedelta(days=365_000)  # PostgreSQL's time ends somewhere


class Deadlines:
    """The deadlines of one service.

    deadlines = Deadlines(store)

    deadlines.set(session, order, PaymentOverdue(), timedelta(days=3))
    ...
    deadlines.cancel(session, order, PaymentOverdue)
    """

    def __init__(self, store: EventStore) -> None:
        """Append to `store`; where it is bound to a cause (`store.following(envelope)`), deadlines are as well."""
        self.store = store
        self._sql = TimerSql(store.schema)
        self._set = Executor("Deadlines.set", writes=True, bind_arguments=store.bind_arguments, schema=store.schema)
        self._cancel = self._set._replace(name="Deadlines.cancel")

    def set(
        self,
        connection: Synchronous,
        stream: StreamId | str,
        event: object,
        due: timedelta | datetime,
        *,
        name: str | None = None,
    ) -> datetime:
        """Let an event be appended to a stream at a time, or so long after now; return when, by the database's clock.

        What is due already fires as soon as the transaction has committed.
        """
        deadline = deadline_of(self.store, stream, event, due, name=name)
        return self._set.run(connection, self._setting(deadline))[0]

    async def set_async(
        self,
        connection: Asynchronous,
        stream: StreamId | str,
        event: object,
        due: timedelta | datetime,
        *,
        name: str | None = None,
    ) -> datetime:
        """Do what `set` does, on an asynchronous session or connection."""
        deadline = deadline_of(self.store, stream, event, due, name=name)
        return (await self._set.run_async(connection, self._setting(deadline)))[0]

    def cancel(self, connection: Synchronous, stream: StreamId | str, which: type | str) -> bool:
        """Cancel a deadline, by its event's class or its name; return False where it has fired, or was never set."""
        return bool(self._cancel.run(connection, cancel_steps(self._sql, [name_of(self.store, stream, which)])))

    async def cancel_async(self, connection: Asynchronous, stream: StreamId | str, which: type | str) -> bool:
        """Do what `cancel` does, on an asynchronous session or connection."""
        steps = cancel_steps(self._sql, [name_of(self.store, stream, which)])
        return bool(await self._cancel.run_async(connection, steps))

    def _setting(self, deadline: Deadline) -> Steps[list[datetime]]:
        return set_steps(self._sql, self.store.catalog, [deadline], self.store.sealing)


def deadline_of(
    store: EventStore, stream: StreamId | str, event: object, due: timedelta | datetime, *, name: str | None
) -> Deadline:
    """Check and encode a deadline, or raise InvalidEvent."""
    entry = store.entries.one(stream, [event], ANY, None, None)
    encoded = entry.events[0]
    if encoded.tags:
        raise InvalidEvent(
            f"deadline of {stream!r}: {encoded.type!r} has tags ({', '.join(encoded.tags)}), and an event that a "
            "deadline appends has none: use a type without tags, and append the tagged event when that one is handled"
        )
    _check_due(stream, due)
    return Deadline(entry.stream, _checked(name or encoded.type), due, entry.ids[0], encoded, entry.metadata[0])


def name_of(store: EventStore, stream: StreamId | str, which: type | str) -> tuple[StreamId, str]:
    """Return a deadline's stream and name, or raise InvalidEvent."""
    name = which if isinstance(which, str) else store.catalog.type_of(which).name
    return stream_of(stream), _checked(name)


def _check_due(stream: str, due: object) -> None:
    if isinstance(due, datetime) and due.tzinfo is None:
        raise InvalidEvent(f"deadline of {stream!r}: {due} has no time zone: datetime.now(UTC), for instance, has one")
    if not isinstance(due, datetime) and not (isinstance(due, timedelta) and abs(due) <= _LONGEST):
        raise InvalidEvent(f"deadline of {stream!r}: {shown(due)} is neither a time nor a timedelta below 1,000 years")


def _checked(name: object) -> str:
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise InvalidEvent(
        f"a deadline's name is {shown(name)}: it is 1 to 200 of A-Z, a-z, 0-9, `_`, `.`, `:`, `/`, `-` and space, "
        "beginning with a letter"
    )
