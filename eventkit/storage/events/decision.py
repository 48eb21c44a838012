"""Decides over several entities: reads the events of some tags, and appends only if no newer one matches.

    decision = store.query(session, QueryItem(tags=["course:c1"]), QueryItem(tags=["student:s9"], types=[Subscribed]))
    ...                                                       # decide, on decision.events
    store.append(session, stream, Subscribed(...), unless_changed=decision)

This is the dynamic consistency boundary, inside the caller's own transaction. A decision remembers the last event that
its query saw of each tag. An append by the decision locks the tags, then checks for matching events above these
positions. The caller's own events count. The locks stay until the transaction ends. So after a conflict a second query
of the same tags, in the same READ COMMITTED transaction, stays valid. A query does not see pruned events.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from eventkit.domain.catalog import Catalog, listed
from eventkit.domain.envelope import EncodedEvent, Envelope
from eventkit.domain.tags import check_tags
from eventkit.errors import DecisionChanged, InvalidEvent
from eventkit.storage.db import Row, Statement, Steps, database_errors, plain_array, text_array
from eventkit.storage.entry import Entry
from eventkit.storage.events.append_sql import SourceTopics, many_params, one_params
from eventkit.storage.events.tag_sql import TagSql
from eventkit.storage.outbox import encoded
from eventkit.storage.privacy import Encryption

NOTHING_KNOWN: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class QueryItem:
    """Events that have all of these tags and one of these types; any type where none is named."""

    tags: Sequence[str]
    types: Sequence[type] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", check_tags(self.tags))
        object.__setattr__(self, "types", listed("types", self.types))
        if not self.tags:
            raise InvalidEvent(
                "QueryItem(tags=[]): an item needs a tag, because an append locks tags; for a rule without an entity, "
                'give the events a constant tag, such as "invoices"'
            )


class Item(NamedTuple):
    """An item as the tables know it; a type is its source and its name, on two lines."""

    tags: tuple[str, ...]
    types: tuple[str, ...]


def items_of(catalog: Catalog, asked: Sequence[QueryItem], otherwise: Sequence[type] = ()) -> list[Item]:
    """Return items as the tables know them; one without types gets the types `otherwise`, or matches any type."""
    return [Item(tuple(item.tags), tuple(_kinds(catalog, item.types or otherwise))) for item in asked]


def _kinds(catalog: Catalog, classes: Iterable[type]) -> Iterator[str]:
    for kind in map(catalog.type_of, classes):
        yield from (f"{kind.source}\n{name}" for name in kind.names)


class Seen(NamedTuple):
    """The last event of a tag that a query saw; no id where there was none. `version` counts the tag's events."""

    version: int
    position: int
    id: str | None


class Decision(msgspec.Struct, frozen=True):
    """The events of a query, oldest first, and the last event seen of each tag; for `append(unless_changed=…)`."""

    events: tuple[Envelope[Any], ...]
    items: tuple[Item, ...]
    seen: Mapping[str, Seen]

    def __iter__(self) -> Iterator[Envelope[Any]]:
        return iter(self.events)


class Found(NamedTuple):
    """The result of a query before its events are decoded."""

    events: list[EncodedEvent]
    seen: dict[str, Seen]


def query_steps(
    sql: TagSql, items: Sequence[Item], sealing: Encryption, known: Mapping[str, int] = NOTHING_KNOWN
) -> Steps[Found]:
    """Read the events of any of the items, and the last event of each tag, in one statement.

    `known` gives a position for each tag; events up to it are left out.
    """
    params = {
        "tags": text_array(sorted({tag for item in items for tag in item.tags})),
        "known_tags": text_array(known),
        "known_positions": plain_array(known.values()),
    }
    with database_errors():
        rows = yield sql.query, params | _items(items)
        seen = {row[1]: Seen(int(row[9]), int(row[6] or 0), row[4]) for row in rows if row[0] == 0}
        events = [encoded(row) for row in rows if row[0] > 0]
        if sealing.masters is not None:
            yield from sealing.open(events)
    return Found(events, seen)


def tags_of(entries: Sequence[Entry]) -> list[str]:
    """Return the tags of an append's events, one for each time that an event carries it."""
    return [tag for entry in entries for event in entry.events for tag in event.tags]


def has_tags(entries: Sequence[Entry]) -> bool:
    """Return whether an append's events carry tags."""
    for entry in entries:  # loops: cheaper than a generator for the single event of most appends
        for event in entry.events:
            if event.tags:
                return True
    return False


def lock_statement(sql: TagSql, entries: Sequence[Entry], decision: Decision) -> Statement:
    """Return the statement that locks the tags of a decision and of the entries."""
    return sql.lock, _raises(tags_of(entries), decision.seen)


def tagged_statement(
    sql: TagSql, topics: SourceTopics, entries: list[Entry], decision: Decision | None, kind: int
) -> tuple[str, dict[str, Any]]:
    """Return the statement that appends these entries with their tags, by a decision where there is one."""
    if len(entries) == len(entries[0].events) == 1:
        tagged, decided, params = sql.tagged_one, sql.decided_one, one_params(topics, entries[0])
        params["tags"] = text_array(entries[0].events[0].tags)
    else:
        tagged, decided, params = sql.tagged, sql.decided, many_params(topics, entries) | _tagged(entries)
    if decision is not None:
        return decided[kind], params | _check_params(decision)
    return tagged[kind], params | _raises(tags_of(entries), ())


def conflict_steps(sql: TagSql, decision: Decision, *, stream: str) -> Steps[DecisionChanged]:
    """Return the error that names the newer event; `stream` is that of the append, named where there is no event."""
    rows = yield sql.came, _check_params(decision)
    if rows:
        position, kind, stream, version, event_id = rows[0]
        return DecisionChanged(stream, version, type=kind, position=position, event_id=event_id)
    return DecisionChanged(stream, None)


def is_changed(rows: Sequence[Row]) -> bool:
    """Return whether an append by a decision found that it does not hold."""
    return any(row[0] is None for row in rows)


def _raises(carried: Sequence[str], depended_on: Mapping[str, Seen] | Sequence[str]) -> dict[str, Any]:
    raises = dict.fromkeys(depended_on, 0)
    for tag in carried:
        raises[tag] = raises.get(tag, 0) + 1
    return {"tags": text_array(raises), "raises": plain_array(raises.values())}


def _tagged(entries: Sequence[Entry]) -> dict[str, Any]:
    events = enumerate((event for entry in entries for event in entry.events), 1)
    pairs = [(place, tag) for place, event in events for tag in event.tags]
    return {"tag_ords": plain_array(place for place, _ in pairs), "tag_names": text_array(tag for _, tag in pairs)}


def _items(items: Sequence[Item]) -> dict[str, Any]:
    """Write items as parallel arrays; each one's tags and types are an array literal, because their lengths differ."""
    return {
        "item_tags": text_array(text_array(item.tags) for item in items),
        "item_types": text_array(text_array(item.types) for item in items),
    }


def _check_params(decision: Decision) -> dict[str, Any]:
    seen = decision.seen
    drivers = [min(item.tags, key=lambda tag: seen[tag].version) for item in decision.items]
    last = [(tag, one.position, one.id) for tag, one in seen.items() if one.id is not None]
    return _items(decision.items) | {
        "drivers": text_array(drivers),
        "above": plain_array(seen[tag].position for tag in drivers),
        "seen_tags": text_array(tag for tag, _, _ in last),
        "seen_positions": plain_array(position for _, position, _ in last),
        "seen_ids": plain_array(event_id for _, _, event_id in last),
    }
