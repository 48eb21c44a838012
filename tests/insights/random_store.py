"""Fills a small database with random rows of every kind that the insights read."""

import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CATEGORIES, TYPES = ("order", "payment", "tax_file"), ("Placed", "Paid", "Filed")
CAUSES = ("failed", "behind", "gap")
PARKED_BY = ("relay", "projection:totals:1", "projection:board:2", "projection:board:9")  # 9 is stale

Rows = list[tuple[Any, ...]]


def fill(connection: psycopg.Connection[Any], seed: int) -> None:
    """Insert rows that depend on the seed alone."""
    chance = random.Random(seed)
    streams = [f"{chance.choice(CATEGORIES)}-{number}" for number in range(12)]
    events = _events(chance, streams)
    versions = {stream: max((e[3] for e in events if e[2] == stream), default=0) for stream in streams}
    _insert(connection, "streams (stream, version)", [(s, v) for s, v in versions.items() if v])
    _insert(
        connection,
        "events (id, source, stream, version, type, schema_version, data, metadata, recorded_at)",
        [(e[0], e[1], e[2], e[3], e[4], 1, '{"amount": 1}', json.dumps(e[5]), e[6]) for e in events],
    )
    positions = [row[0] for row in connection.execute("select position from eventkit.events")]
    unsent = sorted(chance.sample(positions, len(positions) // 3))
    _insert(connection, "outbox (position, topic, shard, bytes)", [(p, "shop.order", 0, 1) for p in unsent])
    _insert(
        connection,
        "projections (name, kind, generation, categories, declared_version)",
        [("totals", "table", 1, ["order", "payment"], 1), ("board", "sql", 2, [], 3), ("fresh", "sql", 3, [], 1)],
    )
    _insert(connection, "checkpoints (generation, stream, version, parked)", _checkpoints(chance, versions))
    _letters(connection, chance, events, dict(zip([e[0] for e in events], positions, strict=True)))
    _others(connection, chance, streams)


def _events(chance: random.Random, streams: list[str]) -> Rows:
    versions = dict.fromkeys(streams, 0)
    events: Rows = []
    for number in range(70):
        stream = chance.choice(streams)
        versions[stream] += 1
        known = [event[0] for event in events]
        metadata: dict[str, Any] = {}
        if events and chance.random() < 0.6:
            cause = chance.choice(known)
            story = next(e[5].get("correlation_id", e[0]) for e in events if e[0] == cause)
            metadata = {"causation_id": cause, "correlation_id": story, "note": "own"}
        at = START + timedelta(seconds=10 * number + chance.randrange(9))
        event_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        source = chance.choice(("shop", "bank"))
        events.append((event_id, source, stream, versions[stream], chance.choice(TYPES), metadata, at))
    return events


def _checkpoints(chance: random.Random, versions: dict[str, int]) -> Rows:
    rows: Rows = []
    for generation in (1, 2):
        for stream, version in versions.items():
            if version and chance.random() < 0.8:
                applied = version if chance.random() < 0.4 else chance.randrange(version + 1)
                rows.append((generation, stream, applied, chance.random() < 0.3))
    return rows


def _letters(
    connection: psycopg.Connection[Any], chance: random.Random, events: Rows, positions: dict[str, int]
) -> None:
    letters: Rows = []
    for by in PARKED_BY:
        for event in chance.sample(events, 15):
            position = positions[event[0]] if by == "relay" else None
            cause = "refused" if by == "relay" else chance.choice(CAUSES)
            parked_at = START + timedelta(hours=1, seconds=len(letters))
            letters.append((by, event[2], event[3], position, event[0], event[4], cause, "boom", 1, parked_at))
    _insert(
        connection,
        "dead_letters (parked_by, stream, version, position, event_id, type, cause, error, attempts, parked_at)",
        letters,
    )


def _others(connection: psycopg.Connection[Any], chance: random.Random, streams: list[str]) -> None:
    now = datetime.now(UTC)
    _insert(
        connection,
        "timers (stream, name, due_at, event_id, source, shard, type, schema_version, data, metadata)",
        [
            (chance.choice(streams), f"t{n}", now + timedelta(hours=chance.choice((-1, 1)), seconds=n // 2 * 7),
             uuid.UUID(int=n), "shop", 0, "Late", 1, "{}", "{}")
            for n in range(20)
        ],
    )  # fmt: skip
    _insert(
        connection,
        "operator_actions (actor, action, subject, at)",
        [("ann", "pause", "projection totals", START + timedelta(minutes=2 * n)) for n in range(9)],
    )
    connection.execute(
        """insert into eventkit.dead_letter_actions (at, actor, action, result, letter, parked_by, stream, version,
             event_id, type, cause, error, attempts, parked_at)
           select parked_at - interval '1 h' + id % 7 * interval '3 min', 'bob', 'discard', 'done', id, parked_by,
             stream, version, event_id, type, cause, error, attempts, parked_at
             from (select * from eventkit.dead_letters order by parked_at - interval '1 h' + id % 7 * interval '3 min'
              limit 9) d"""
    )
    _insert(
        connection,
        "inbox (handler, message, event_id)",
        [("h", f"message:{n}", uuid.UUID(int=n)) for n in range(chance.randrange(9))],
    )


def _insert(connection: psycopg.Connection[Any], columns: str, rows: Rows) -> None:
    if rows:
        values = ", ".join(["%s"] * len(rows[0]))
        with connection.cursor() as cursor:
            cursor.executemany(f"insert into eventkit.{columns} values ({values})", rows)
