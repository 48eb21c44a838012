"""The relay's writes: settles events that the broker has acknowledged, parks those that it has refused.

Each write is fenced by leases: it checks the epochs of the leases that it concerns, `for share`, in its own statement.
So a deposed relay changes nothing. A write may be repeated after a lost connection.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from eventkit.errors import Deposed
from eventkit.observability import metrics
from eventkit.observability.log_fields import LogFields
from eventkit.observability.rarely import Rarely
from eventkit.storage.db import database_errors, plain_array, quoted, text_array
from eventkit.storage.outbox.gap_reader import Row
from eventkit.storage.outbox.part_leases import Parts, of_parts

logger = logging.getLogger("eventkit.relay")

# The leases of the parts that a write concerns, in the order of their names, as a renewal locks them.
_CURRENT_EPOCHS = """with concerned as materialized (
  {concerned}
), fence as materialized (
  select f.part from unnest(%(parts)s::int[], %(leases)s::text[], %(epochs)s::int[]) f(part, lease, epoch)
    join {s}.leases l on l.name = f.lease and l.epoch = f.epoch
   where f.part in (select part from concerned)
   order by l.name for share of l
), verdict as materialized (
  select (select count(*) from fence) = (select count(*) from concerned) as holds
)"""
_ONE_PART = "select {part}::int as part"
_SOME_PARTS = """select distinct o.shard %% {of} as part from {s}.outbox o
   where o.position = any(%(positions)s::bigint[]) and {own}"""

_SETTLE = f"""{_CURRENT_EPOCHS}, gone as (
  delete from {{s}}.outbox o
   where o.position = any(%(positions)s::bigint[]) and {{own}} and (select holds from verdict)
)
select holds from verdict"""

_PARK = f"""{_CURRENT_EPOCHS}, parked as (
  insert into {{s}}.dead_letters (parked_by, stream, version, position, event_id, type, cause, error, attempts)
  select 'relay', e.stream, e.version, e.position, e.id, e.type, 'refused', %(error)s, 1
    from {{s}}.events e where e.position = any(%(positions)s::bigint[]) and (select holds from verdict)
  on conflict do nothing
  returning stream, version, event_id, type
)
select holds, p.* from verdict left join parked p on true"""


class Settlement:
    """Settles and parks events of some parts, over its own autocommit connection.

    It raises Deposed, and changes nothing, when the lease of a part that it writes for has another epoch.
    """

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, parts: Parts) -> None:
        self._connection = connection
        self.parts = parts
        self._rarely = Rarely(logger)
        self.settled = 0  # events
        held = parts.leases()
        self._fence = {
            "parts": plain_array(parts.epochs),
            "leases": text_array(held),
            "epochs": plain_array(held.values()),
        }
        is_whole = len(parts.epochs) == parts.of
        names = {"s": quoted(schema), "of": parts.of, "own": "true" if is_whole else of_parts(parts.epochs, parts.of)}
        concerned = _SOME_PARTS if len(parts.epochs) != 1 else _ONE_PART
        names["concerned"] = concerned.format(**names, part=next(iter(parts.epochs), 0))
        self._settle = _SETTLE.format(**names)
        self._park = _PARK.format(**names)

    def settle(self, positions: Sequence[int]) -> None:
        """Delete the outbox rows that the transport has acknowledged; one statement, idempotent.

        Rows of other parts stay: the relay that holds them sends them again.
        """
        self._write(self._settle, {"positions": plain_array(positions)})
        self.settled += len(positions)
        metrics.SETTLED.add(len(positions))

    def park(self, position: int, error: str) -> None:
        """Park an event that the transport refuses, and with it the rest of its stream; the rows stay in the outbox."""
        _, stream, version, event_id, event_type = self._write(
            self._park, {"positions": plain_array([position]), "error": error}
        )
        if stream is not None:
            self._rarely.error(
                "parked stream %s from version %s on: the broker refuses event %s (%s, position %d): %s",
                *(stream, version, event_id, event_type, position, error),
                kind="parked",
                fields=self._fields(stream, version, event_id),
            )

    def _fields(self, stream: str, version: int, event_id: object) -> LogFields:
        fields: LogFields = {
            "stream": stream, "version": version, "event_id": str(event_id), "error_type": "refused"
        }  # fmt: skip
        epochs = list(self.parts.leases().values())
        return {**fields, "epoch": epochs[0]} if len(epochs) == 1 else fields

    def _write(self, statement: str, params: Mapping[str, Any]) -> Row:
        with database_errors():
            row = self._connection.execute(statement, {**self._fence, **params}, prepare=True).fetchone()
        if row is None or not row[0]:
            held = ", ".join(f"{epoch} of lease {lease!r}" for lease, epoch in self.parts.leases().items())
            raise Deposed(f"epoch {held} is over: another relay has taken it; nothing was changed")
        return tuple(row)
