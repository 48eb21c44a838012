"""The answers of `Insights`: frozen dataclasses, which `dataclasses.asdict` turns into plain values.

Times are aware datetimes, ids of processes and events are text. An `Amount` says whether it was counted: counting ends
at a limit, and above the limit the value is an estimate.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A number of rows: counted, or an estimate that is at least the limit of counting."""

    value: int
    is_exact: bool

    @property
    def rounded(self) -> int:
        """The value; of an estimate, its first two digits."""
        return self.value if self.is_exact else round(self.value, 2 - len(str(self.value)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list; `next` is the `after` of the following part, None at the end.

    A search may return a page with few items, or none, and a `next`: it has looked at as many rows as one call may.
    """

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseInsight:
    """A pause that an operator has set."""

    name: str  # of the projection or topic
    paused_by: str
    reason: str
    paused_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PartInsight:
    """One part of the outbox and the relay that holds its lease; `leader` is None where no lease is valid."""

    number: int
    of: int
    leader: str | None  # host:pid
    leader_id: str | None  # of the process, where it writes a heartbeat
    epoch: int
    since: datetime | None  # when the lease was taken
    expires_at: datetime | None
    standbys: tuple[str, ...]  # ids of processes


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTopic:
    """A topic that the relay sends nothing to, because the broker or another installation refuses it."""

    topic: str
    reason: str
    since: datetime
    held_at: datetime  # the last attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class DebeziumInsight:
    """The replication slot through which Debezium reads the events; all amounts are bytes of the write-ahead log."""

    slot: str
    status: str  # PostgreSQL's wal_status (reserved, extended, unreserved, lost), or missing
    is_read: bool  # Connect is connected to it
    behind: int  # not sent yet
    retained: int  # kept by the server for it
    left: int | None  # until it is lost; None without a limit

    @property
    def is_lost(self) -> bool:
        """Whether nobody knows any more which events Debezium has sent."""
        return self.status in ("lost", "missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherInsight:
    """The publisher of the events: the relay, or Debezium in its place."""

    mode: str  # relay, debezium, or a step of a switch: to debezium, both, to relay
    debezium: DebeziumInsight | None  # None while the relay alone sends


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayInsight(PublisherInsight):
    """The state of the relay."""

    parts: tuple[PartInsight, ...]
    parts_without_relay: tuple[int, ...]  # none in mode `debezium`, which needs no relay
    unsent: Amount  # events, with those behind the relay's dead letters and of held topics
    oldest_unsent_at: datetime | None  # recorded; without events that wait behind the relay's dead letters
    rate: float  # settled events a second, of all live relays
    held_topics: tuple[HeldTopic, ...]
    paused_topics: tuple[PauseInsight, ...]
    swept: int  # events that only the sweep has found, of all live relays; anything but 0 is a fault
    gaps: int  # positions that the readers of all live relays wait for


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildInsight:
    """A rebuild of a projection, running or dead."""

    generation: int
    version: int
    done: int  # events
    total: int
    started_at: datetime
    shadow: str  # the schema of its tables
    rate: float | None  # events a second; None where no live process builds it
    process: str | None  # id of the live process


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerWaitInsight:
    """A handler whose events wait in one process, for a service that it calls."""

    process: str  # host:pid
    type: str
    handler: str
    is_open: bool  # the breaker: events of all streams wait; else single streams are retried
    since: datetime
    reason: str
    attempts: int
    streams: int
    next_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInsight:
    """The place of a projection in one shard of a topic, as its process has said it last."""

    shard: str  # topic/number, or `store`
    applied_at: datetime  # the recorded time of the last applied event
    is_caught_up: bool
    process: str  # id


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionInsight:
    """The state of a projection; its lag leaves out parked streams."""

    name: str
    kind: str
    version: int  # live
    declared_version: int  # the highest of the running processes' code; `version` where none runs
    generation: int
    tables: tuple[str, ...]
    categories: tuple[str, ...]  # none: it reads all
    position: int | None  # in the store, where it reads the store
    head: int  # the store's highest position
    lag_events: Amount | None  # None where the store is in another database
    lag_seconds: float | None  # age of the oldest event that is not applied; 0 where it is caught up
    rate: float  # applied events a second, of all live processes
    seconds_to_catch_up: float | None  # None where it does not catch up at these rates
    parked_streams: Amount
    dead_letters: Amount
    rebuild: RebuildInsight | None
    run_by: tuple[str, ...]  # ids of live processes
    shards: tuple[ShardInsight, ...]  # the oldest first, 256 at most
    paused: PauseInsight | None
    waits: str | None  # why a live process applies nothing now
    handler_waits: tuple[HandlerWaitInsight, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterGroup:
    """Dead letters with the same projection, cause and category."""

    parked_by: str  # `relay`, or the projection's name
    generation: int | None  # None for the relay
    is_stale: bool  # the generation is neither live nor being built
    cause: str
    category: str
    amount: Amount
    first_parked_at: datetime
    last_parked_at: datetime
    example: int  # id of the last letter
    error: str  # of the last letter


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterInsight:
    """A dead letter; `data`, `headers` and `detail` only with `payload=True`."""

    id: int
    parked_by: str  # `relay`, or the projection's name
    generation: int | None
    is_stale: bool
    stream: str
    category: str
    version: int
    position: int | None
    event_id: str
    type: str
    cause: str
    error: str
    attempts: int
    parked_at: datetime
    asked_by: str | None  # the actor of a redrive request that is not served yet
    detail: str | None = None
    headers: dict[str, Any] | None = None
    data: str | None = None  # JSON, or the received bytes as text
    behind: Amount | None = None  # events that wait behind it; only of a single letter


@dataclass(frozen=True, slots=True, kw_only=True)
class TimersInsight:
    """The deadlines, without those of archived streams."""

    waiting: Amount  # set, and not due yet
    due: Amount
    overdue: Amount  # due for more than five seconds
    next_due_at: datetime | None  # of those not due yet
    oldest_overdue_at: datetime | None
    leader: str | None  # host:pid of the worker that fires them
    rate: float  # fired a second


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerInsight:
    """A deadline that is set, without its event's data."""

    stream: str
    name: str
    due_at: datetime
    is_due: bool
    type: str
    event_id: str
    set_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInsight:
    """A process that has written a heartbeat; one that has not ended cleanly stays for a day."""

    id: str
    role: str
    name: str
    host: str
    pid: int
    version: str  # of eventkit
    started_at: datetime
    seen_at: datetime
    is_gone: bool  # dead, hung, or without its database for 15 seconds
    state: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRowInsight:
    """A row of a process manager: a process that runs."""

    manager: str
    key: tuple[str, ...]  # the values of its primary key
    row: str  # JSON; the service's own data


@dataclass(frozen=True, slots=True, kw_only=True)
class TableInsight:
    """The size of a table."""

    name: str
    rows: Amount
    bytes: int  # with indexes
    dead_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SizesInsight:
    """The sizes of all tables, the largest first, and the inbox."""

    tables: tuple[TableInsight, ...]
    bytes: int  # of all tables
    inbox: Amount  # messages
    oldest_message_at: datetime | None  # in the inbox
    oldest_event_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInsight:
    """An event; `data` and `metadata` only with `payload=True`."""

    position: int
    id: str
    source: str
    stream: str
    category: str
    version: int
    type: str
    schema_version: int
    recorded_at: datetime
    correlation_id: str | None
    causation_id: str | None
    traceparent: str | None
    bytes: int  # of its data as stored
    is_amended: bool | None = None  # readers get other data, or a tombstone; only of a single event
    is_unsent: bool | None = None  # it is in the outbox; only of a single event
    metadata: dict[str, Any] | None = None  # the user's own
    data: str | None = None  # JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class CausedEvent:
    """An event of a causation tree; `depth` is 0 for the event that was asked for."""

    depth: int
    event: EventInsight


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlace:
    """How far a projection has applied a stream."""

    projection: str
    version: int
    is_parked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInsight:
    """A stream."""

    stream: str
    category: str
    version: int
    pruned_to: int
    is_closed: bool  # archived
    last_recorded_at: datetime | None
    places: tuple[StreamPlace, ...]  # of projections that have read it
    dead_letters: Amount
    deadlines: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInsight:
    """A setting of this process; secrets in it are masked."""

    name: str
    value: str | None
    origin: str  # default, an option, a variable of the environment, or a file


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionInsight:
    """An operator's action."""

    id: str
    at: datetime
    actor: str
    action: str
    subject: str
    detail: str
