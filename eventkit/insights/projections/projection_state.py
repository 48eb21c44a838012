"""Reads the state of projections, page by page, from their rows, their processes' heartbeats, and the store."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from eventkit.insights import process_list
from eventkit.insights.answers import (
    Amount,
    HandlerWaitInsight,
    Page,
    PauseInsight,
    ProcessInsight,
    ProjectionInsight,
    RebuildInsight,
    ShardInsight,
)
from eventkit.insights.projections.projection_lag import (
    OF_MANY,
    OF_ONE,
    EventLag,
    LagDepth,
    ProjectionLags,
    StoreHead,
    store_head,
)
from eventkit.insights.reader import MOST_COUNTED, InsightReader, Row, checked_limit, page_key, read_key
from eventkit.insights.relay_state import paused
from eventkit.storage.projections import HandlerWait, HandlerWaits

_MAX_SHARDS = 256

_PAGE = """select p.name, p.kind, p.declared_version, p.generation, p.tables, p.categories, p.position,
       r.generation, r.declared_version, r.done, r.total, r.started_at, r.shadow,
       (select count(*) from (select from {s}.checkpoints c
          where c.generation = p.generation and c.parked {most}) parked),
       (select count(*) from (select from {s}.dead_letters d
          where d.parked_by = 'projection:' || p.name || ':' || p.generation::text {most}) letters)
  from {s}.projections p left join {s}.rebuilds r using (name)
 where p.name > %(after)s and (%(name)s::text is null or p.name = %(name)s::text) order by p.name limit %(limit)s"""
_PARKED = "select from {s}.checkpoints where generation = %(generation)s and parked"
_LETTERS = """select from {s}.dead_letters
 where parked_by = concat('projection:', %(name)s::text, ':', %(generation)s::bigint)"""


class _Known(NamedTuple):
    """The values that are read once for all projections of a page."""

    processes: list[ProcessInsight]
    waits: Mapping[str, Sequence[HandlerWait]]
    paused: Mapping[str, PauseInsight]
    head: StoreHead
    lags: Mapping[int, EventLag | None]
    exact: bool


def page(
    reader: InsightReader, store: InsightReader, *, after: str | None, limit: int, exact: bool
) -> Page[ProjectionInsight]:
    """Return projections in order of name."""
    (last,) = read_key(after, str) or ("",)
    rows = _rows(reader, after=last, name=None, limit=checked_limit(limit) + 1, exact=exact)
    items = _insights(reader, store, rows[:limit], depth=OF_MANY, exact=exact)
    return Page(items=items, next=page_key(items[-1].name) if len(rows) > limit else None)


def one(reader: InsightReader, store: InsightReader, name: str, *, exact: bool) -> ProjectionInsight | None:
    """Return one projection; None where it is not registered."""
    rows = _rows(reader, after="", name=name, limit=1, exact=exact)
    return _insights(reader, store, rows, depth=OF_ONE, exact=exact)[0] if rows else None


def _rows(reader: InsightReader, *, after: str, name: str | None, limit: int, exact: bool) -> list[Row]:
    most = "" if exact else f"limit {MOST_COUNTED + 1}"
    return reader.rows(_PAGE, {"after": after, "name": name, "limit": limit}, most=most)


def _insights(
    reader: InsightReader, store: InsightReader, rows: Sequence[Row], *, depth: LagDepth, exact: bool
) -> tuple[ProjectionInsight, ...]:
    waits = defaultdict(list)
    for wait in HandlerWaits(reader.schema).all(reader.connection):
        waits[wait.projection].append(wait)
    head = store_head(store, depth)
    known = _Known(
        process_list.live(reader, "projector", "rebuild"),
        waits,
        paused(reader, "projection"),
        head,
        _lags(reader, store, head, rows, exact=exact),
        exact,
    )
    return tuple(_insight(reader, row, known) for row in rows)


def _lags(
    reader: InsightReader, store: InsightReader, head: StoreHead, rows: Sequence[Row], *, exact: bool
) -> dict[int, EventLag | None]:
    lags = ProjectionLags(reader, store, head)
    known: dict[int, EventLag | None] = dict.fromkeys(row[3] for row in rows)
    return known | lags.all({row[3]: row[5] for row in rows}, exact=exact)


def _insight(reader: InsightReader, row: Row, known: _Known) -> ProjectionInsight:
    name, kind, version, generation, tables, categories, position, *rest = row
    states = [(process, state) for process in known.processes if (state := _state_of(process, name)) is not None]
    shards = _shards(states)
    lag = known.lags[generation]
    seconds = _seconds(lag, shards, known)
    rate = sum(process_list.number(state, "rate") for _, state in states)
    declared = [int(process_list.number(state, "version")) for _, state in states]
    params = {"name": name, "generation": generation}
    return ProjectionInsight(
        name=name,
        kind=kind,
        version=version,
        declared_version=max([version, *declared]),
        generation=generation,
        tables=tuple(tables),
        categories=tuple(categories),
        position=position or None,
        head=known.head.position,
        lag_events=None if lag is None else Amount(value=lag.events, is_exact=lag.is_exact),
        lag_seconds=seconds,
        rate=rate,
        seconds_to_catch_up=None if lag is None else _to_catch_up(lag.events, rate - known.head.rate),
        parked_streams=_amount(reader, rest[6], _PARKED, {"generation": generation}, exact=known.exact),
        dead_letters=_amount(reader, rest[7], _LETTERS, params, exact=known.exact),
        rebuild=_rebuild(rest[:6], [each for each in known.processes if each.state.get("projection") == name]),
        run_by=tuple(process.id for process, _ in states),
        shards=shards,
        paused=known.paused.get(name),
        waits=next((str(state["waits"]) for _, state in states if state.get("waits")), None),
        handler_waits=tuple(map(_handler_wait, known.waits.get(name, ()))),
    )


def _amount(reader: InsightReader, counted: int, rows: str, params: Mapping[str, object], *, exact: bool) -> Amount:
    if exact or counted <= MOST_COUNTED:
        return Amount(value=counted, is_exact=True)
    return reader.amount(rows, params)


def _state_of(process: ProcessInsight, projection: str) -> dict[str, Any] | None:
    states = process.state.get("projections")
    state = states.get(projection) if isinstance(states, dict) and process.role == "projector" else None
    return state if isinstance(state, dict) else None


def _shards(states: Sequence[tuple[ProcessInsight, dict[str, Any]]]) -> tuple[ShardInsight, ...]:
    """Return the shards, the oldest first; of two processes that know a shard, the one that is further counts."""
    found: dict[str, ShardInsight] = {}
    for process, state in states:
        for name, (applied_at, is_caught_up) in (state.get("shards") or {}).items():
            if applied_at is None:  # it has read the shard, and applied nothing yet
                continue
            at = datetime.fromisoformat(applied_at)
            shard = ShardInsight(shard=name, applied_at=at, is_caught_up=is_caught_up, process=process.id)
            found[name] = max(found.get(name, shard), shard, key=_place)
    return tuple(sorted(found.values(), key=_age)[:_MAX_SHARDS])


def _place(shard: ShardInsight) -> tuple[datetime, bool]:
    return shard.applied_at, not shard.is_caught_up


def _age(shard: ShardInsight) -> tuple[bool, datetime, str]:
    return shard.is_caught_up, shard.applied_at, shard.shard


def _seconds(lag: EventLag | None, shards: Sequence[ShardInsight], known: _Known) -> float | None:
    """Return the age of the oldest event that is not applied, by the store, and by the processes."""
    times = [] if lag is None or lag.oldest_at is None else [lag.oldest_at]
    if lag is None or not lag.is_exact:
        times += [shard.applied_at for shard in shards if not shard.is_caught_up]
    if times:
        return max(0.0, (known.head.now - min(times)).total_seconds())
    return None if lag is None and not shards else 0.0


def _to_catch_up(events: int, rate: float) -> float | None:
    if not events:
        return 0.0
    return events / rate if rate > 0 else None


def _rebuild(row: Sequence[Any], processes: Sequence[ProcessInsight]) -> RebuildInsight | None:
    if row[0] is None:
        return None
    running = processes[0] if processes else None
    return RebuildInsight(
        **dict(zip(("generation", "version", "done", "total", "started_at", "shadow"), row, strict=True)),
        rate=None if running is None else process_list.number(running.state, "rate"),
        process=None if running is None else running.id,
    )


def _handler_wait(wait: HandlerWait) -> HandlerWaitInsight:
    names = ("process", "type", "handler", "is_open", "since", "reason", "attempts", "streams", "next_at")
    return HandlerWaitInsight(**{name: getattr(wait, name) for name in names})
