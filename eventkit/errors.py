"""Every exception that eventkit raises on purpose; the message has the values in it and says what to do.

EventkitError
├── ConfigurationError        a setting, a path or a URL that cannot be used
│   └── EmbeddedUnavailable   no PostgreSQL binaries or no Kafka client for the embedded servers
├── CatalogError              an event type that cannot be registered
├── InvalidEvent              something that must not be written (also a ValueError)
│   ├── InvalidStreamId       a stream id, category or name that breaks the rules
│   ├── UnknownEventType      a type that the catalog does not know
│   └── EventTooLarge         more bytes than the limit
├── UndecodableEvent          stored or received data that its type cannot be made from
│   └── NewerSchema           written by a newer schema version than this catalog knows
├── StorageError              the database does not do what was asked
│   ├── ConcurrencyError      a stream is not at the expected version
│   │   └── DecisionChanged   an event that a decision depends on has come since
│   ├── DuplicateEventId      an event id that is already in the store, elsewhere
│   ├── SubjectForgotten      new personal data of somebody who was forgotten
│   ├── SubjectKeyMissing     personal data whose key is not in this database
│   ├── AppendDeadlock        PostgreSQL chose this transaction as a deadlock's victim: retry it
│   ├── UnsupportedConnection a driver or a session that append does not take
│   ├── DatabaseUnavailable   no connection, or it was lost
│   ├── NotPrimary            a standby, or a pooler that breaks sessions
│   ├── DeadLetterError       a dead letter that cannot be changed this way, now
│   ├── MaintenanceDenied     the role that may delete events is missing, or not granted
│   ├── StreamPruned          events that a reader needs were pruned or archived
│   ├── StreamClosed          a stream that was archived takes no more events
│   ├── ArchiveError          streams that cannot be archived or restored
│   ├── InstallationMoved     the tables are in another database than they were: an operator has to adopt it
│   ├── StoreRestored         a subscription has read further than the store goes: it was restored
│   └── SchemaMismatch        migrations not run, or newer than this code, or the database differs
├── AggregateError            an aggregate that cannot be declared, loaded or saved
│   ├── UnexpectedEvent       an event that its fold does not take
│   └── MissingEvents         versions of its stream are no longer in the store
├── TryLater                  something that a handler calls is away: a handler raises this to wait
├── Deposed                   another process holds the lease now
├── TransportError            the broker does not do what was asked
│   ├── TransportUnavailable  no connection, or it was lost
│   └── TopicUnusable         missing, forbidden, or changed under a running producer
├── RequestError              a request that did not get the reply that it asked for
│   ├── RequestTimeout        none came in time (also a TimeoutError)
│   ├── Refused               the responder's answer is an error of its own
│   ├── RequestFailed         its responder failed at it, or has answered something else
│   └── ReplyRefused          it asks for its reply at a place that its responder does not declare
└── ProjectionError           a projection that cannot be loaded or run
    ├── VersionMismatch       its declared version is not the live one: rebuild
    │   └── ProjectionDeleted its row is gone: start its projector again to make it anew
    ├── PlaceGone             what acts has no place at the broker any more: an operator says where it begins
    ├── NameTaken             another projection is registered under its name
    ├── RebuildRefused        a rebuild that cannot begin, go on, or be swapped in
    ├── StreamParked          what is waited for is parked, or waits behind what is
    └── NotApplied            what is waited for was not applied in time (also a TimeoutError)
"""

from collections.abc import Mapping
from uuid import UUID


class EventkitError(Exception):
    """The root of all."""


class ConfigurationError(EventkitError):
    """A setting, a path or a URL cannot be used."""


class EmbeddedUnavailable(ConfigurationError):
    """The embedded servers have nothing to run on."""


class CatalogError(EventkitError):
    """An event type cannot be registered."""


class InvalidEvent(EventkitError, ValueError):
    """The event must not be written."""


class InvalidStreamId(InvalidEvent):
    """A stream id, a category or a name breaks the rules."""


class UnknownEventType(InvalidEvent):
    """The catalog does not know the type."""


class EventTooLarge(InvalidEvent):
    """The event has more bytes than the limit."""


class UndecodableEvent(EventkitError):
    """The event's type cannot be made from its data."""


class NewerSchema(UndecodableEvent):
    """The event was written by a newer schema version than this catalog knows."""


class StorageError(EventkitError):
    """The database does not do what was asked."""


class ConcurrencyError(StorageError):
    """A stream is not at the expected version; nothing of the call was written.

    `expected` is a version, 0 for "no stream", None for any. `actual` is the stream's version as this transaction sees
    it, 0 for "no stream", and None where it changed meanwhile or the isolation level hides it. `transaction_usable` is
    False where PostgreSQL aborted the caller's transaction (REPEATABLE READ, SERIALIZABLE): roll back and start again;
    `stream` then names all streams of the call, and any of them may be the one.
    """

    def __init__(
        self, stream: str, expected: int | None, actual: int | None, *, transaction_usable: bool = True
    ) -> None:
        """Say the values."""
        self.stream = stream
        self.expected = expected
        self.actual = actual
        self.transaction_usable = transaction_usable
        super().__init__(stream, expected, actual)

    def __str__(self) -> str:
        """Put the values into a sentence."""
        wanted = {None: "to stay as it was", 0: "not to exist"}.get(self.expected, f"at version {self.expected}")
        seen = {None: "another transaction changed it", 0: "it does not exist"}.get(
            self.actual, f"it is at version {self.actual}"
        )
        after = (
            "load it again and retry"
            if self.transaction_usable
            else "the transaction is aborted: roll back and retry it whole"
        )
        return f"stream {self.stream!r} was expected {wanted}, but {seen}; nothing was written: {after}"


class DecisionChanged(ConcurrencyError):
    """An event that matches a decision's query has come since; nothing of the call was written.

    `stream`, `actual` (its version), `type`, `position` and `event_id` are those of the first such event; they are the
    append's stream and None where an event that the decision had seen is gone, having been rolled back.
    """

    def __init__(
        self,
        stream: str,
        actual: int | None,
        *,
        type: str | None = None,  # noqa: A002 the event's, as everywhere
        position: int | None = None,
        event_id: str | None = None,
    ) -> None:
        """Say the values."""
        self.type, self.position, self.event_id = type, position, event_id
        super().__init__(stream, None, actual)

    def __str__(self) -> str:
        """Put the values into a sentence."""
        place = f"version {self.actual} of {self.stream!r} at position {self.position}"
        gone = "an event that it has seen was rolled back"
        came = gone if self.type is None else f"{self.type!r} has come since, as {place}"
        return f"the decision does not hold any more: {came}; nothing was written: query again and decide anew"


class DuplicateEventId(StorageError):
    """An event id is already in the store, at another place."""


class SubjectForgotten(StorageError):
    """New personal data of a subject that was forgotten; nothing was written."""


class SubjectKeyMissing(StorageError):
    """The database has sealed personal data, or is asked for it, and not the subject's key."""


class AppendDeadlock(StorageError):
    """PostgreSQL chose this transaction as a deadlock's victim: roll back and retry it."""


class UnsupportedConnection(StorageError, TypeError):
    """Append does not take this driver or kind of session."""


class DatabaseUnavailable(StorageError):
    """There is no connection to the database, or it was lost."""


class NotPrimary(StorageError):
    """The server is a standby, or a pooler stands in between."""


class DeadLetterError(StorageError):
    """A dead letter cannot be edited, redriven or discarded this way, now."""


class MaintenanceDenied(StorageError):
    """The session may not delete events: an administrator makes the role for it, and grants it."""


class StreamPruned(StorageError):
    """Events that a reader needs are gone: a stream's versions up to `pruned_to`."""

    def __init__(self, stream: str, *, after: int, pruned_to: int) -> None:
        """Say the values."""
        self.stream = stream
        self.pruned_to = pruned_to
        super().__init__(
            f"stream {stream!r} was to be read from version {after + 1} on, but the store has pruned or archived it up "
            f"to version {pruned_to}: read after={pruned_to} if that is enough, or restore its archive"
        )


class StreamClosed(StorageError):
    """A stream was archived and takes no more events; roll back. Restoring its archive opens it again."""


class ArchiveError(StorageError):
    """Streams cannot be archived or restored."""


class InstallationMoved(StorageError):
    """The tables are in another database than they were: an operator has to adopt it before anybody acts."""


class StoreRestored(StorageError):
    """The store does not go as far as a subscription has read: it was restored, or lost commits in a failover."""


class SchemaMismatch(StorageError):
    """The database's tables are not those of this code."""


class AggregateError(EventkitError):
    """An aggregate cannot be declared, loaded or saved."""


class UnexpectedEvent(AggregateError):
    """The aggregate's fold does not take an event; `place` says where it stands, empty while it is being recorded."""

    def __init__(self, aggregate: str, event_type: str, place: str = "") -> None:
        """Say the values."""
        self.aggregate = aggregate
        self.event_type = event_type
        self.place = place
        super().__init__(aggregate, event_type, place)

    def __str__(self) -> str:
        """Put the values into a sentence."""
        there = f"{self.place} is " if self.place else f"{self.aggregate} was given "
        return (
            f"{there}{self.event_type}, which {self.aggregate} does not evolve: say what it does to the state, or name "
            "it in `ignored`"
        )


class MissingEvents(AggregateError):
    """Versions of the aggregate's stream are no longer in the store: its state cannot be known."""


class TryLater(EventkitError):
    """Something that a handler calls is away: its streams wait, and one of them is tried again after `seconds`.

    A handler raises this. Nothing is parked, and events of other types go on.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        """Say for how long, and why, in words that may be logged and shown."""
        self.seconds = float(seconds)
        if not 0 <= self.seconds < float("inf"):
            raise ValueError(f"TryLater({seconds!r}): seconds must be 0 or more, and finite")
        super().__init__(reason or f"asked to be tried again in {self.seconds:g} s")


class Deposed(EventkitError):
    """Another process holds the lease now."""


class TransportError(EventkitError):
    """The broker does not do what was asked."""


class TransportUnavailable(TransportError):
    """There is no connection to the broker, or it was lost."""


class TopicUnusable(TransportError):
    """Topics are missing, forbidden, or have changed under a running producer; `reasons` has a sentence for each."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        """Say each topic's reason."""
        self.reasons = dict(reasons)
        super().__init__("; ".join(f"topic {topic!r}: {reason}" for topic, reason in self.reasons.items()))


class RequestError(EventkitError):
    """A request did not get the reply that it asked for."""


class RequestTimeout(RequestError, TimeoutError):
    """No reply came in time; `request_id` asks for the same reply again, without doing the work twice."""

    def __init__(self, request: str, request_id: UUID, topic: str, seconds: float) -> None:
        """Say the values."""
        self.request_id = request_id
        super().__init__(
            f"no reply to {request} {request_id} on {topic!r} in {seconds:g} s: is its responder running? It may have "
            "been worked all the same: ask again with request_id=, and it is not worked twice"
        )


class Refused(RequestError):
    """A responder's answer is an error: `error`, an event of its catalog. A responder raises this."""

    def __init__(self, error: object) -> None:
        """Carry an event."""
        self.error = error
        super().__init__(f"refused: {error}")


class RequestFailed(RequestError):
    """A request's responder failed at it, or has answered something else than was asked for."""


class ReplyRefused(RequestError):
    """A request asks for its reply where its responder does not reply: it is not worked."""


class ProjectionError(EventkitError):
    """A projection cannot be loaded or run."""


class VersionMismatch(ProjectionError):
    """The declared version of a projection is not the live one."""


class ProjectionDeleted(VersionMismatch):
    """A running projection was deleted."""


class PlaceGone(ProjectionError):
    """What acts has no place at the broker any more; read again from the beginning, it may act twice."""


class NameTaken(ProjectionError):
    """Another projection is registered under this name in the read models' database."""


class RebuildRefused(ProjectionError):
    """A rebuild cannot begin, go on, or be swapped in; the live read model is as it was."""


class StreamParked(ProjectionError):
    """A stream is parked in a projection: what was appended to it is not applied before somebody looks at it."""


class NotApplied(ProjectionError, TimeoutError):
    """A projection has not applied what was appended in time."""
