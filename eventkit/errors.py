"""All exceptions that eventkit raises on purpose; each message names the values and a remedy.

EventkitError
├── ConfigurationError        a setting, a path or a URL that cannot be used
│   └── EmbeddedUnavailable   no PostgreSQL binaries or no Kafka client for the embedded servers
├── CatalogError              an event type that cannot be registered
├── InvalidEvent              an event that must not be written (also a ValueError)
│   ├── InvalidStreamId       a stream id, category or name that breaks the rules
│   ├── UnknownEventType      a type that the catalog does not know
│   └── EventTooLarge         more bytes than the limit
├── UndecodableEvent          stored or received data that cannot be decoded as its type
│   └── NewerSchema           written by a newer schema version than this catalog knows
├── StorageError              an operation on the database failed
│   ├── ConcurrencyError      a stream is not at the expected version
│   │   └── DecisionChanged   an event that a decision depends on was appended meanwhile
│   ├── DuplicateEventId      an event id that is already in the store, elsewhere
│   ├── SubjectForgotten      new personal data of a subject who was forgotten
│   ├── SubjectKeyMissing     personal data whose key is not in this database
│   ├── AppendDeadlock        PostgreSQL chose this transaction as a deadlock's victim: retry it
│   ├── UnsupportedConnection a driver or a session that append does not support
│   ├── DatabaseUnavailable   no connection, or it was lost
│   ├── NotPrimary            a standby, or a pooler that breaks sessions
│   ├── DeadLetterError       a dead letter that cannot be edited, redriven or discarded
│   ├── PauseRefused          a projection or topic that cannot be paused or resumed
│   ├── MaintenanceDenied     the role that may delete events is missing, or not granted
│   ├── StreamPruned          events that a reader needs were pruned or archived
│   ├── StreamClosed          an append to a stream that was archived
│   ├── ArchiveError          streams that cannot be archived or restored
│   ├── InstallationMoved     the tables are in another database than before: an operator has to adopt it
│   ├── RelayRunning          the number of relay parts cannot change while a relay runs
│   ├── StoreRestored         the store ends before a subscription's position: it was restored
│   └── SchemaMismatch        migrations not run, or newer than this code, or the database differs
├── AggregateError            an aggregate that cannot be declared, loaded or saved
│   ├── UnexpectedEvent       an event that its fold does not handle
│   └── MissingEvents         versions of its stream are no longer in the store
├── TryLater                  a service that a handler calls is unavailable: raised by the handler, to wait
├── Deposed                   another process holds the lease now
├── TransportError            an operation on the broker failed
│   ├── TransportUnavailable  no connection, or it was lost
│   └── TopicUnusable         missing, forbidden, or changed under a running producer
├── RegistryError             an operation on the schema registry failed, or it refused a schema
│   └── RegistryUnavailable   it does not answer
├── RequestError              a request without the expected reply
│   ├── RequestTimeout        no reply came in time (also a TimeoutError)
│   ├── Refused               the responder replied with an error of its catalog
│   ├── RequestFailed         the responder failed, or its reply has another type
│   └── ReplyRefused          the request names a reply topic that its responder does not declare
└── ProjectionError           a projection that cannot be loaded or run
    ├── VersionMismatch       its declared version is not the live one: rebuild
    │   └── ProjectionDeleted its row is gone: start its projector again to register it
    ├── ProjectionPaused      an operator has paused it: it applies nothing until it is resumed
    ├── PlaceGone             a handler's offsets are gone at the broker: an operator chooses where it begins
    ├── NameTaken             another projection is registered under its name
    ├── RebuildRefused        a rebuild that cannot begin, resume, or be swapped in
    ├── StreamParked          the awaited event is parked, or kept behind a parked one
    └── NotApplied            the awaited event was not applied in time (also a TimeoutError)
"""

from collections.abc import Mapping
from math import isnan
from uuid import UUID

# The causes of dead letters. They are here, because the help of a command lists them and loads no driver.
BEHIND, GAP = "behind", "gap"  # the cause is outside of the event
CAUSES = ("failed", "undecodable", "newer schema", "fork", GAP, "malformed", BEHIND, "refused")  # a relay's: the last


class EventkitError(Exception):
    """The base class of all exceptions of eventkit."""


class ConfigurationError(EventkitError):
    """A setting, a path or a URL cannot be used."""


class EmbeddedUnavailable(ConfigurationError):
    """The embedded servers cannot start: PostgreSQL's binaries or the Kafka client are missing."""


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
    """The event's data cannot be decoded as its type."""


class NewerSchema(UndecodableEvent):
    """The event was written by a newer schema version than this catalog knows."""


class StorageError(EventkitError):
    """An operation on the database failed."""


class ConcurrencyError(StorageError):
    """A stream is not at the expected version; nothing of the call was written.

    `expected` is a version, 0 for "no stream", None for any. `actual` is the stream's version as this transaction sees
    it, 0 for "no stream", and None if it changed meanwhile or the isolation level hides it. `transaction_usable` is
    False if PostgreSQL aborted the caller's transaction (REPEATABLE READ, SERIALIZABLE): roll back and start again.
    `stream` then names all streams of the call; the conflict may be in any of them.
    """

    def __init__(
        self, stream: str, expected: int | None, actual: int | None, *, transaction_usable: bool = True
    ) -> None:
        self.stream = stream
        self.expected = expected
        self.actual = actual
        self.transaction_usable = transaction_usable
        super().__init__(stream, expected, actual)

    def __str__(self) -> str:
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
    """An event that matches a decision's query was appended meanwhile; nothing of the call was written.

    `stream`, `actual` (its version), `type`, `position` and `event_id` are those of the first such event. If instead an
    event that the decision has seen was rolled back, `stream` is the append's stream and the others are None.
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
        self.type, self.position, self.event_id = type, position, event_id
        super().__init__(stream, None, actual)

    def __str__(self) -> str:
        place = f"version {self.actual} of {self.stream!r} at position {self.position}"
        gone = "an event that it has seen was rolled back"
        came = gone if self.type is None else f"{self.type!r} has come since, as {place}"
        return f"the decision does not hold any more: {came}; nothing was written: query again and decide anew"


class DuplicateEventId(StorageError):
    """An event id is already in the store, at another place."""


class SubjectForgotten(StorageError):
    """New personal data of a subject that was forgotten; nothing was written."""


class SubjectKeyMissing(StorageError):
    """Personal data is sealed with a key that is not in this database."""


class AppendDeadlock(StorageError):
    """PostgreSQL chose this transaction as a deadlock's victim: roll back and retry it."""


class UnsupportedConnection(StorageError, TypeError):
    """Append does not support this driver or kind of session."""


class DatabaseUnavailable(StorageError):
    """There is no connection to the database, or it was lost."""


class NotPrimary(StorageError):
    """The server is a standby, or a pooler stands in between."""


class DeadLetterError(StorageError):
    """A dead letter cannot be edited, redriven or discarded."""


class PauseRefused(StorageError):
    """A projection or a topic cannot be paused or resumed; nothing was changed."""


class MaintenanceDenied(StorageError):
    """The session may not delete events: an administrator creates the role for it, and grants it."""


class StreamPruned(StorageError):
    """Events that a reader needs were pruned or archived: a stream's versions up to `pruned_to`."""

    def __init__(self, stream: str, *, after: int, pruned_to: int) -> None:
        self.stream = stream
        self.pruned_to = pruned_to
        super().__init__(
            f"stream {stream!r} was to be read from version {after + 1} on, but the store has pruned or archived it up "
            f"to version {pruned_to}: read after={pruned_to} if that is enough, or restore its archive"
        )


class StreamClosed(StorageError):
    """The stream was archived and is closed: roll back. Restoring its archive opens it again."""


class ArchiveError(StorageError):
    """Streams cannot be archived or restored."""


class InstallationMoved(StorageError):
    """The tables are in another database than before: an operator has to run `eventkit db adopt` first."""


class RelayRunning(StorageError):
    """The number of relay parts cannot change while a relay runs."""


class StoreRestored(StorageError):
    """The store ends before a subscription's position: it was restored, or lost commits in a failover."""


class SchemaMismatch(StorageError):
    """The database's tables are not those of this code."""


class AggregateError(EventkitError):
    """An aggregate cannot be declared, loaded or saved."""


class UnexpectedEvent(AggregateError):
    """The aggregate's fold does not handle an event; `place` is its stream and version, empty for a recorded event."""

    def __init__(self, aggregate: str, event_type: str, place: str = "") -> None:
        self.aggregate = aggregate
        self.event_type = event_type
        self.place = place
        super().__init__(aggregate, event_type, place)

    def __str__(self) -> str:
        there = f"{self.place} is " if self.place else f"{self.aggregate} was given "
        return (
            f"{there}{self.event_type}, which {self.aggregate} does not evolve: say what it does to the state, or name "
            "it in `ignored`"
        )


class MissingEvents(AggregateError):
    """Versions of the aggregate's stream are no longer in the store, so its state cannot be computed."""


_LONGEST_WAIT = 86_400.0  # seconds


class TryLater(EventkitError):
    """Raise this in a handler when a service that it calls is unavailable: its streams wait, and nothing is parked.

    One of the streams is tried again after `seconds`: at once where they are negative, as for a time that has passed,
    and after a day at most. Events of other types are applied meanwhile. `reason` is logged and shown, so it must not
    hold secrets or personal data.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        if isnan(seconds):
            raise ValueError("TryLater(nan): give a number of seconds")
        self.seconds = min(max(0.0, float(seconds)), _LONGEST_WAIT)
        super().__init__(reason or f"asked to be tried again in {self.seconds:g} s")


class Deposed(EventkitError):
    """Another process holds the lease now."""


class TransportError(EventkitError):
    """An operation on the broker failed."""


class TransportUnavailable(TransportError):
    """There is no connection to the broker, or it was lost."""


class TopicUnusable(TransportError):
    """Topics are missing, forbidden, or have changed under a running producer; `reasons` maps each to a sentence."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        super().__init__("; ".join(f"topic {topic!r}: {reason}" for topic, reason in self.reasons.items()))


class RegistryError(EventkitError):
    """An operation on the schema registry failed, or the registry refused a schema."""


class RegistryUnavailable(RegistryError):
    """The schema registry does not answer."""


class RequestError(EventkitError):
    """A request did not get the expected reply."""


class RequestTimeout(RequestError, TimeoutError):
    """No reply came in time; send the request again with this `request_id`, and its work is not done twice."""

    def __init__(self, request: str, request_id: UUID, topic: str, seconds: float) -> None:
        self.request_id = request_id
        super().__init__(
            f"no reply to {request} {request_id} on {topic!r} in {seconds:g} s: is its responder running? It may have "
            "handled the request: ask again with request_id=, and it is not handled twice"
        )


class Refused(RequestError):
    """The responder replied with `error`, an event of its catalog. Raise this in a responder to reply with an error."""

    def __init__(self, error: object) -> None:
        self.error = error
        super().__init__(f"refused: {error}")


class RequestFailed(RequestError):
    """A request's responder failed, or its reply has another type than the expected one."""


class ReplyRefused(RequestError):
    """A request names a reply topic that its responder does not declare: it is not handled."""


class ProjectionError(EventkitError):
    """A projection cannot be loaded or run."""


class VersionMismatch(ProjectionError):
    """The declared version of a projection is not the live one."""


class ProjectionDeleted(VersionMismatch):
    """A running projection was deleted."""


class ProjectionPaused(ProjectionError):
    """An operator has paused the projection: it applies nothing until it is resumed."""


class PlaceGone(ProjectionError):
    """A handler's offsets are gone at the broker; reading from the beginning may repeat its effects."""


class NameTaken(ProjectionError):
    """Another projection is registered under this name in the read models' database."""


class RebuildRefused(ProjectionError):
    """A rebuild cannot begin, resume, or be swapped in; the live read model is unchanged."""


class StreamParked(ProjectionError):
    """A stream is parked in a projection: its later events are not applied until an operator redrives or discards."""


class NotApplied(ProjectionError, TimeoutError):
    """A projection has not applied the awaited event in time."""
