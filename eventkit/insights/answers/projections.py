"""Answers about projections: rebuilds, waiting handlers, shards."""

from dataclasses import dataclass
from datetime import datetime

from eventkit.insights.answers.amounts import Amount
from eventkit.insights.answers.publishing import PauseInsight


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
