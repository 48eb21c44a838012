"""The digest of a stream's events up to a version: two readers that applied the same events have the same digest.

    digest = sum of id * 2**(55 * version) over the events, modulo 2**61 - 1; the id is a UUID as a number

It is a sum of which each event's part depends on its version. 2**128 is 2**6 modulo 2**61 - 1, and 2**55 is its
inverse. So the 16 bytes of ids that follow each other, joined and read as one number, are their sum, but for the factor
of the last one: one division for a run of events, instead of two products for each. The factors repeat after 61
versions, so two events that changed places over exactly that distance would not be noticed.

Because it is a sum, the statement that moves a checkpoint adds a batch's part, a pruned prefix is kept as one number,
and PostgreSQL computes the same with aggregates. It finds accidents (a restored store, a failover that lost commits, a
forged message), not an adversary who may choose ids. `None` is an unknown digest: the reader skipped events that it
never saw.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from eventkit.storage.db import in_schema, plain_array, text_array

_BITS = 61
PRIME: int = 2**_BITS - 1
_INVERSE = 55  # of 128, the bits of an id: their sum is a multiple of 61
WEIGHT = "(1::bigint << mod(55 * {version}::bigint, 61)::int)"

# An event's part, as numeric: its id in pieces of 60, 60 and 8 bits (2**68 is 2**7 modulo the prime). `h` is HEX.
HEX = "encode(uuid_send(e.id), 'hex')"
TERM = f"""((('x' || substr(h, 1, 15))::bit(60)::bigint::numeric * 128
  + ('x' || substr(h, 16, 15))::bit(60)::bigint::numeric * 256 + ('x' || substr(h, 31, 2))::bit(8)::int)
  * {WEIGHT.format(version="e.version")})"""
SUM = f"mod(coalesce(sum({TERM}), 0), {PRIME})::bigint"  # mod(), for % is the mark of a parameter

# For each stream one range of the unique index on (stream, version), and one look-up of the event at its place.
_ASK = f"""select greatest(s.pruned_to, d.highest),
       case when d.count = w.version - coalesce(s.pruned_to, 0)
            then mod(coalesce(s.pruned_digest, 0) + d.digest, {PRIME}) end, p.id
  from unnest(%s::text[], %s::int[], %s::int[]) with ordinality w(stream, version, place, nth)
  left join {{s}}.streams s on s.stream = w.stream
  left join {{s}}.events p on p.stream = w.stream and p.version = w.place
  cross join lateral (
    select count(*), coalesce(max(e.version), 0) as highest, {SUM} as digest
      from {{s}}.events e cross join lateral (select {HEX} as h) x
     where e.stream = w.stream and e.version <= w.version) d
 order by w.nth"""


class Question(NamedTuple):
    """Asks for a stream's digest up to a version (0: not asked), and the id of the event at a place (0: not asked)."""

    stream: str
    version: int
    place: int = 0


class Stored(NamedTuple):
    """The store's answer.

    `digest` is None where the store cannot compute it: events above the version were pruned, or some are missing.
    `highest` is the highest version, not above the one asked for, that the store has or had before pruning; else 0.
    """

    highest: int
    digest: int | None
    id: UUID | None


def part_of(event_id: UUID, version: int) -> int:
    """Return the part of one event in its stream's digest."""
    return part_of_run(event_id.bytes, version)


def part_of_run(ids: bytes, last: int) -> int:
    """Return the part of events that follow each other, up to version `last`; `ids` are 16 bytes for each."""
    return (int.from_bytes(ids) % PRIME << _INVERSE * last % _BITS) % PRIME


def added(digest: int | None, part: int | None) -> int | None:
    """Return a digest with the part of further events."""
    return None if digest is None or part is None else (digest + part) % PRIME


def ask(connection: psycopg.Connection[Any], schema: str, questions: Sequence[Question]) -> list[Stored]:
    """Return the store's answers, in the order of the questions."""
    params = (
        text_array([each.stream for each in questions]),
        plain_array([each.version for each in questions]),
        plain_array([each.place for each in questions]),
    )
    rows = connection.execute(in_schema(_ASK, schema), params)
    return [Stored(*row) for row in rows]
