"""The answers that the conditions look at: one set, read by statements of bounded cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from eventkit.insights.answers import (
    Amount,
    DeadLetterGroup,
    Page,
    ProcessInsight,
    ProjectionInsight,
    RelayInsight,
    TimersInsight,
)
from eventkit.insights.reader import InsightReader
from eventkit.storage.debezium import Mode, is_switching
from eventkit.storage.outbox import LockHolder, lease_name, lock_holders_of
from eventkit.storage.schema import Health, Installation, ReplicationSlot, look

_ENDS = (Mode.RELAY, Mode.DEBEZIUM)  # of a switch
_PAGE = 200
_MOST_PROJECTIONS = 1_000
_GROUPS = 50
_OPEN_OUTBOX = 5_000  # unsent events that are looked at for one that no topic holds back

_NOW = "select clock_timestamp()"
_INBOX = "select from {s}.inbox"
# Unsent events whose topics are neither held nor paused, the oldest first: the relay should have sent them.
_OLDEST_OPEN = f"""select e.recorded_at
  from (select position, topic, shard from {{s}}.outbox order by position limit {_OPEN_OUTBOX}) o
  join {{s}}.events e using (position)
 where o.topic <> all(%(closed)s::text[]) and not exists (select from {{s}}.dead_letters d
   where d.parked_by = 'relay' and d.stream = e.stream and d.position <= e.position)
 order by o.position limit 1"""
_WAITING = f"""select o.shard %% %(of)s::int, count(*)
  from (select position, topic, shard from {{s}}.outbox order by position limit {_OPEN_OUTBOX}) o
  join {{s}}.events e using (position)
 where o.topic <> all(%(closed)s::text[]) and not exists (select from {{s}}.dead_letters d
   where d.parked_by = 'relay' and d.stream = e.stream and d.position <= e.position)
 group by 1 order by 1"""
_LATE = 5.0  # seconds: an event that has waited for longer is not on its way
_FEW = 0.1  # of the events of the part that has most; so many are on their way in every part with a relay


class Questions(Protocol):
    """The questions that attention asks; `Insights` answers them."""

    def relay(self) -> RelayInsight: ...
    def projections(self, *, after: str | None = None, limit: int = 50) -> Page[ProjectionInsight]: ...
    def dead_letter_groups(self, *, limit: int = 100) -> list[DeadLetterGroup]: ...
    def timers(self) -> TimersInsight: ...
    def processes(self) -> Page[ProcessInsight]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """The state of the system at one moment, by the database's clock."""

    now: datetime
    relay: RelayInsight
    oldest_open_at: datetime | None  # of unsent events that the relay should have sent
    waiting_parts: frozenset[int]  # of such events, where they have waited for long or a part has no relay
    projections: tuple[ProjectionInsight, ...]
    letters: tuple[DeadLetterGroup, ...]
    timers: TimersInsight
    processes: tuple[ProcessInsight, ...]
    inbox: Amount
    slots: tuple[ReplicationSlot, ...]
    installation: Installation
    has_open_switch: bool  # between relay and Debezium, and no command runs it
    lock_holders: Mapping[str, LockHolder]  # sessions that prevent free leases from being taken, by lease

    def seconds(self, since: datetime | None) -> float:
        """Return the seconds since a moment; 0 for None."""
        return 0.0 if since is None else (self.now - since).total_seconds()


def observe(insights: Questions, reader: InsightReader, store: InsightReader) -> Observations:
    """Ask for all of it; `store` is the event store's database."""
    relay, timers = insights.relay(), insights.timers()
    free = [lease_name(part.number, part.of) for part in relay.parts if part.leader is None]
    free += ["timers"] if timers.leader is None and timers.overdue.value else []
    closed = [held.topic for held in relay.held_topics] + [pause.name for pause in relay.paused_topics]
    open_rows = store.rows(_OLDEST_OPEN, {"closed": closed})
    now = reader.row(_NOW)[0]
    is_late = bool(open_rows) and (now - open_rows[0][0]).total_seconds() > _LATE
    return Observations(
        now=now,
        relay=relay,
        oldest_open_at=open_rows[0][0] if open_rows else None,
        waiting_parts=_waiting(store, closed, len(relay.parts))
        if is_late or relay.parts_without_relay
        else frozenset(),
        projections=_projections(insights),
        letters=tuple(insights.dead_letter_groups(limit=_GROUPS)),
        timers=timers,
        processes=insights.processes().items,
        inbox=reader.amount(_INBOX),
        slots=tuple(Health(store.connection, store.schema).slots()),
        installation=look(reader.connection, reader.schema),
        has_open_switch=relay.mode not in _ENDS and not is_switching(store.connection, store.schema),
        lock_holders=lock_holders_of(reader.connection, reader.schema, free),
    )


def _waiting(store: InsightReader, closed: list[str], of: int) -> frozenset[int]:
    """Return the parts whose events wait, without those of which a few are on their way."""
    counts: dict[int, int] = dict(store.rows(_WAITING, {"closed": closed, "of": of}))
    return frozenset(part for part, count in counts.items() if count >= _FEW * max(counts.values()))


def _projections(insights: Questions) -> tuple[ProjectionInsight, ...]:
    found: list[ProjectionInsight] = []
    after = None
    while len(found) < _MOST_PROJECTIONS:
        page = insights.projections(after=after, limit=_PAGE)
        found += page.items
        after = page.next
        if after is None:
            break
    return tuple(found)
