"""Answers about the publisher of the events: the relay, or Debezium."""

from dataclasses import dataclass
from datetime import datetime

from eventkit.insights.answers.amounts import Amount


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
