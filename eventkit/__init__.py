"""Append events in your own transaction, relay them in order, apply each once to read models.

    aggregate --record--> event --append--> events + outbox      one transaction, the service's own
    outbox --relay--> transport                                  publish, settle
    transport --deliver--> projector --apply--> read model       advance the checkpoint

A service registers its events in a `Catalog` and appends them with an `EventStore`, in its own open transaction, so the
events commit with its state or not at all. An `Aggregate` makes decisions on state folded from its stream. `eventkit
relay run` publishes the outbox; `eventkit projector run` runs `TableProjection`s, `SqlProjection`s, `Handlers`,
`ProcessManager`s and `Responder`s. Importing this package loads no broker client, no alembic and no command line;
modules that need a database are imported at their first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventkit.domain.catalog import Catalog, EventType
from eventkit.domain.codec import Encoded, Personal
from eventkit.domain.envelope import EncodedEvent, Envelope
from eventkit.domain.master_keys import MasterKeys
from eventkit.domain.metadata import Metadata
from eventkit.domain.stream import StreamId
from eventkit.errors import (
    AggregateError,
    AppendDeadlock,
    ArchiveError,
    CatalogError,
    ConcurrencyError,
    ConfigurationError,
    DatabaseUnavailable,
    DeadLetterError,
    DecisionChanged,
    DuplicateEventId,
    EventkitError,
    EventTooLarge,
    InstallationMoved,
    InvalidEvent,
    InvalidStreamId,
    MaintenanceDenied,
    MissingEvents,
    NameTaken,
    NewerSchema,
    NotApplied,
    NotPrimary,
    ProjectionDeleted,
    ProjectionError,
    Refused,
    ReplyRefused,
    RequestError,
    RequestFailed,
    RequestTimeout,
    SchemaMismatch,
    StorageError,
    StreamClosed,
    StreamParked,
    StreamPruned,
    SubjectForgotten,
    SubjectKeyMissing,
    TopicUnusable,
    TransportError,
    TransportUnavailable,
    TryLater,
    UndecodableEvent,
    UnexpectedEvent,
    UnknownEventType,
    UnsupportedConnection,
    VersionMismatch,
)

if TYPE_CHECKING:
    from eventkit.aggregates import (
        Aggregate,
        Decider,
        Deciding,
        DecisionModel,
        Decisions,
        Repository,
        Snapshots,
        evolve,
        retry_on_conflict,
        retry_on_conflict_async,
    )
    from eventkit.config import Settings, load_settings
    from eventkit.messaging import (
        Deadlines,
        Handlers,
        Listener,
        ProcessManager,
        Reaction,
        Replies,
        Requester,
        Responder,
        Sender,
    )
    from eventkit.projection.define import DELETE, SqlProjection, TableProjection
    from eventkit.projection.inline import Inline
    from eventkit.projection.retry_policy import Backoff, Retry
    from eventkit.projection.wait_for import wait_for, wait_for_async
    from eventkit.storage.events import (
        ANY,
        NO_STREAM,
        Append,
        Appended,
        CausationTree,
        Caused,
        Decision,
        EventStore,
        QueryItem,
    )
    from eventkit.storage.forget import Privacy
    from eventkit.transports.base import open_transport

__all__ = [
    "ANY",
    "DELETE",
    "NO_STREAM",
    "Aggregate",
    "AggregateError",
    "Append",
    "AppendDeadlock",
    "Appended",
    "ArchiveError",
    "Backoff",
    "Catalog",
    "CatalogError",
    "CausationTree",
    "Caused",
    "ConcurrencyError",
    "ConfigurationError",
    "DatabaseUnavailable",
    "DeadLetterError",
    "Deadlines",
    "Decider",
    "Deciding",
    "Decision",
    "DecisionChanged",
    "DecisionModel",
    "Decisions",
    "DuplicateEventId",
    "Encoded",
    "EncodedEvent",
    "Envelope",
    "EventStore",
    "EventTooLarge",
    "EventType",
    "EventkitError",
    "Handlers",
    "Inline",
    "InstallationMoved",
    "InvalidEvent",
    "InvalidStreamId",
    "Listener",
    "MaintenanceDenied",
    "MasterKeys",
    "Metadata",
    "MissingEvents",
    "NameTaken",
    "NewerSchema",
    "NotApplied",
    "NotPrimary",
    "Personal",
    "Privacy",
    "ProcessManager",
    "ProjectionDeleted",
    "ProjectionError",
    "QueryItem",
    "Reaction",
    "Refused",
    "Replies",
    "ReplyRefused",
    "Repository",
    "RequestError",
    "RequestFailed",
    "RequestTimeout",
    "Requester",
    "Responder",
    "Retry",
    "SchemaMismatch",
    "Sender",
    "Settings",
    "Snapshots",
    "SqlProjection",
    "StorageError",
    "StreamClosed",
    "StreamId",
    "StreamParked",
    "StreamPruned",
    "SubjectForgotten",
    "SubjectKeyMissing",
    "TableProjection",
    "TopicUnusable",
    "TransportError",
    "TransportUnavailable",
    "TryLater",
    "UndecodableEvent",
    "UnexpectedEvent",
    "UnknownEventType",
    "UnsupportedConnection",
    "VersionMismatch",
    "evolve",
    "load_settings",
    "open_transport",
    "retry_on_conflict",
    "retry_on_conflict_async",
    "wait_for",
    "wait_for_async",
]

_AT_FIRST_USE = {
    "ANY": "eventkit.storage.events",
    "Settings": "eventkit.config",
    "load_settings": "eventkit.config",
    "open_transport": "eventkit.transports.base",
    "DELETE": "eventkit.projection.define",
    "Deadlines": "eventkit.messaging",
    "Handlers": "eventkit.messaging",
    "ProcessManager": "eventkit.messaging",
    "Listener": "eventkit.messaging",
    "Reaction": "eventkit.messaging",
    "Replies": "eventkit.messaging",
    "Requester": "eventkit.messaging",
    "Responder": "eventkit.messaging",
    "Sender": "eventkit.messaging",
    "NO_STREAM": "eventkit.storage.events",
    "Aggregate": "eventkit.aggregates",
    "Inline": "eventkit.projection.inline",
    "Backoff": "eventkit.projection.retry_policy",
    "Retry": "eventkit.projection.retry_policy",
    "Append": "eventkit.storage.events",
    "Appended": "eventkit.storage.events",
    "CausationTree": "eventkit.storage.events",
    "Caused": "eventkit.storage.events",
    "Decider": "eventkit.aggregates",
    "Deciding": "eventkit.aggregates",
    "Decision": "eventkit.storage.events",
    "DecisionModel": "eventkit.aggregates",
    "Decisions": "eventkit.aggregates",
    "EventStore": "eventkit.storage.events",
    "QueryItem": "eventkit.storage.events",
    "Repository": "eventkit.aggregates",
    "Snapshots": "eventkit.aggregates",
    "Privacy": "eventkit.storage.forget",
    "SqlProjection": "eventkit.projection.define",
    "TableProjection": "eventkit.projection.define",
    "evolve": "eventkit.aggregates",
    "retry_on_conflict": "eventkit.aggregates",
    "retry_on_conflict_async": "eventkit.aggregates",
    "wait_for": "eventkit.projection.wait_for",
    "wait_for_async": "eventkit.projection.wait_for",
}


def __getattr__(name: str) -> Any:
    if name not in _AT_FIRST_USE:
        raise AttributeError(f"module 'eventkit' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_AT_FIRST_USE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
