"""Reads how far a projection has applied streams, on a service's own session or connection."""

from functools import cache

import msgspec

from eventkit.storage.db import Steps, text_array, text_in_schema

# At least one row, also where nothing is registered or applied: the projection's columns, with each checkpoint.
_APPLIED = """
select current_setting('transaction_isolation'), p.declared_version, k.stream, k.version, k.parked
  from (values (%(name)s::text)) n(name) left join {s}.projections p on p.name = n.name
  left join {s}.checkpoints k on k.generation = p.generation and k.stream = any(%(streams)s::text[])"""


class Applied(msgspec.Struct, frozen=True):
    """The versions that a projection has applied; `declared_version` is None where it is not registered."""

    isolation: str
    declared_version: int | None
    versions: dict[str, int]
    parked: frozenset[str]


def applied_steps(schema: str, name: str, streams: dict[str, int]) -> Steps[Applied]:
    """Read the applied versions of `streams`, in one statement."""
    rows = yield _statement(schema), {"name": name, "streams": text_array(streams)}
    known = [row for row in rows if row[2] is not None]
    versions = {row[2]: row[3] for row in known}
    return Applied(rows[0][0], rows[0][1], versions, frozenset(row[2] for row in known if row[4]))


@cache  # a waiting service asks again and again
def _statement(schema: str) -> str:
    return text_in_schema(_APPLIED, schema)
