"""Reads the state of the publisher: its mode, Debezium's slot, who leads each part, unsent events, refused topics."""

import re

from eventkit.insights import process_list
from eventkit.insights.answers import (
    DebeziumInsight,
    HeldTopic,
    PartInsight,
    PauseInsight,
    ProcessInsight,
    PublisherInsight,
    RelayInsight,
)
from eventkit.insights.reader import InsightReader, Row
from eventkit.storage.debezium import Mode, Replication, read_mode, slot_name

_LEASE = re.compile(r"relay (\d+)/(\d+)")
_OLDEST = 2_000  # unsent events that are looked at for the oldest one that no dead letter holds back

_LEASES = """select name, owner, epoch, taken_at, nullif(expires_at, '-infinity'), expires_at > clock_timestamp()
  from {s}.leases where name like 'relay %' order by name"""
_PARTS = "select coalesce((select relay_parts from {s}.installation), 1)"
_UNSENT = "select from {s}.outbox"
# The time of the oldest of the first unsent events that no dead letter of the relay holds back: an event behind a
# letter waits for an operator, and not for the relay. Where there is none, the time of the last one looked at.
_OLDEST_UNSENT = f"""select e.recorded_at from (select position from {{s}}.outbox order by position limit {_OLDEST}) o
 cross join lateral (select position, stream, recorded_at from {{s}}.events where position = o.position offset 0) e
 where not exists (select from {{s}}.dead_letters d where d.parked_by = 'relay' and d.stream = e.stream
                      and d.position <= e.position) order by e.position limit 1"""
_LAST_LOOKED_AT = f"""select e.recorded_at from (select position from {{s}}.outbox order by position limit {_OLDEST}) o
 cross join lateral (select position, stream, recorded_at from {{s}}.events where position = o.position offset 0) e
 order by e.position desc limit 1"""
_HELD = """select h.topic, h.reason, h.since, h.held_at from {s}.held_topics h
 where h.held_at > clock_timestamp() - interval '10 min' and h.topic in (
   select topic from (select topic from {s}.outbox order by position limit 10000) o)
 order by h.topic limit 1000"""
_PAUSED = """select name, paused_by, reason, paused_at from {s}.pauses where kind = %(kind)s order by name limit 1000"""


def relay(reader: InsightReader, *, exact: bool = False) -> RelayInsight:
    """Return the state of the relay."""
    running = process_list.live(reader, "relay")
    sender = publisher(reader)
    parts = _parts(reader, running)
    unsent = reader.amount(_UNSENT, exact=exact)
    oldest = reader.rows(_OLDEST_UNSENT)
    if not oldest and unsent.value > _OLDEST:  # a later one may be free: it was recorded after these
        oldest = reader.rows(_LAST_LOOKED_AT)
    held = tuple(
        HeldTopic(topic=topic, reason=reason, since=since, held_at=at)
        for topic, reason, since, at in reader.rows(_HELD)
    )
    missing = [] if sender.mode == Mode.DEBEZIUM else [part.number for part in parts if part.leader is None]
    return RelayInsight(
        mode=sender.mode,
        debezium=sender.debezium,
        parts=parts,
        parts_without_relay=tuple(missing),
        unsent=unsent,
        oldest_unsent_at=oldest[0][0] if oldest else None,
        rate=process_list.total(running, "rate"),
        held_topics=held,
        paused_topics=tuple(paused(reader, "topic").values()),
        swept=round(process_list.total(running, "swept")),
        gaps=round(process_list.total(running, "gaps")),
    )


def publisher(reader: InsightReader) -> PublisherInsight:
    """Return who sends the events."""
    mode = read_mode(reader.connection, reader.schema)
    alone = mode in (Mode.RELAY, Mode.TO_DEBEZIUM)
    return PublisherInsight(mode=mode.value, debezium=None if alone else _debezium(reader))


def paused(reader: InsightReader, kind: str) -> dict[str, PauseInsight]:
    """Return the paused projections, or topics, by name."""
    return {
        name: PauseInsight(name=name, paused_by=by, reason=reason, paused_at=at)
        for name, by, reason, at in reader.rows(_PAUSED, {"kind": kind})
    }


def _debezium(reader: InsightReader) -> DebeziumInsight:
    name = slot_name(reader.connection, reader.schema)
    slot = Replication(reader.connection, reader.schema, name).look()
    return DebeziumInsight(
        slot=name,
        status=slot.wal_status if slot else "missing",
        is_read=slot is not None and slot.reader is not None,
        behind=slot.behind if slot else 0,
        retained=slot.retained if slot else 0,
        left=slot.left if slot else None,
    )


def _parts(reader: InsightReader, running: list[ProcessInsight]) -> tuple[PartInsight, ...]:
    """Return the parts; a relay with another number of parts holds its leases by that number."""
    leases = {
        (int(found[1]), int(found[2])): row for row in reader.rows(_LEASES) if (found := _LEASE.fullmatch(row[0]))
    }
    (configured,) = reader.row(_PARTS)
    of = max([of for (_, of), row in leases.items() if row[5]], default=configured)
    return tuple(_part(number, of, leases.get((number, of)), running) for number in range(of))


def _part(number: int, of: int, lease: Row | None, running: list[ProcessInsight]) -> PartInsight:
    _, owner, epoch, taken_at, expires_at, is_held = lease or (None, None, 0, None, None, False)
    leader = owner if is_held else None
    ids = {f"{process.host}:{process.pid}": process.id for process in running}
    standbys = [process.id for process in running if process.state.get("parts", {}).get(str(number)) == "standby"]
    return PartInsight(
        number=number,
        of=of,
        leader=leader,
        leader_id=ids.get(leader or ""),
        epoch=epoch,
        since=taken_at if is_held else None,
        expires_at=expires_at if epoch else None,
        standbys=tuple(standbys),
    )
