"""Deadlines: an event that is appended at a time, unless it is cancelled before.

A deadline is set and cancelled in the caller's transaction, on any connection that `EventStore.append` takes.
`eventkit timers run` fires it. Its key is its stream and a name, by default that of the event's type. Setting it again
moves it. A deadline either fires or is cancelled: `cancel` returns whether it was in time.
"""

import re
from datetime import datetime, timedelta

from eventkit.domain.codec import shown
from eventkit.domain.stream import StreamId
from eventkit.errors import InvalidEvent
from eventkit.storage.db import Asynchronous, Executor, Steps, Synchronous
from eventkit.storage.events import EventStore, encode_entry, encryption_of, stream_of
from eventkit.storage.timers import Deadline, TimerSql, cancel_steps, set_steps

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:/ -]{0,199}")
_MAX_DUE = timedelta(days=365_000)  # PostgreSQL's timestamps have an end


class Deadlines:
    """The deadlines of one service.

    deadlines = Deadlines(store)

    deadlines.set(session, order, PaymentOverdue(), timedelta(days=3))
    ...
    deadlines.cancel(session, order, PaymentOverdue)
    """

    def __init__(self, store: EventStore) -> None:
        """Append to `store`; if it is bound to a cause (`store.following(envelope)`), deadlines are as well."""
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
        """Append an event to a stream at a time, or a timedelta from now; return the time, by the database's clock.

        A time in the past fires as soon as the transaction has committed. `name` is that of the event's type unless
        given. Raise InvalidEvent for an event with tags, or a time without a time zone.
        """
        deadline = deadline_of(self.store, stream, event, due, name=name)
        return self._set.run(connection, self._set_steps(deadline))[0]

    async def set_async(
        self,
        connection: Asynchronous,
        stream: StreamId | str,
        event: object,
        due: timedelta | datetime,
        *,
        name: str | None = None,
    ) -> datetime:
        """Set a deadline as `set` does, on an asynchronous session or connection."""
        deadline = deadline_of(self.store, stream, event, due, name=name)
        return (await self._set.run_async(connection, self._set_steps(deadline)))[0]

    def cancel(self, connection: Synchronous, stream: StreamId | str, which: type | str) -> bool:
        """Cancel a deadline, by its event's class or its name; return False if it has fired, or was never set."""
        return bool(self._cancel.run(connection, cancel_steps(self._sql, [name_of(self.store, stream, which)])))

    async def cancel_async(self, connection: Asynchronous, stream: StreamId | str, which: type | str) -> bool:
        """Cancel a deadline as `cancel` does, on an asynchronous session or connection."""
        steps = cancel_steps(self._sql, [name_of(self.store, stream, which)])
        return bool(await self._cancel.run_async(connection, steps))

    def _set_steps(self, deadline: Deadline) -> Steps[list[datetime]]:
        return set_steps(self._sql, self.store.catalog, [deadline], encryption_of(self.store))


def deadline_of(
    store: EventStore, stream: StreamId | str, event: object, due: timedelta | datetime, *, name: str | None
) -> Deadline:
    """Check and encode a deadline, or raise InvalidEvent."""
    entry = encode_entry(store, stream, event)
    encoded = entry.events[0]
    if encoded.tags:
        raise InvalidEvent(
            f"deadline of {stream!r}: {encoded.type!r} has tags ({', '.join(encoded.tags)}), and an event of a "
            "deadline has none: use a type without tags, and append the tagged event in the handler of that one"
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
    if not isinstance(due, datetime) and not (isinstance(due, timedelta) and abs(due) <= _MAX_DUE):
        raise InvalidEvent(f"deadline of {stream!r}: {shown(due)} is neither a time nor a timedelta below 1,000 years")


def _checked(name: object) -> str:
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise InvalidEvent(
        f"a deadline's name is {shown(name)}: it is 1 to 200 of A-Z, a-z, 0-9, `_`, `.`, `:`, `/`, `-` and space, "
        "beginning with a letter"
    )
