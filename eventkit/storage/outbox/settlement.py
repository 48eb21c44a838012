"""The relay's writes: settles events that the broker has acknowledged; `parking` parks those that it has refused.

Each write is fenced by leases: it checks the epochs of the leases that it concerns, `for share`, in its own statement.
So a deposed relay changes nothing. A write may be repeated after a lost connection.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from eventkit.errors import Deposed
from eventkit.observability import metrics
from eventkit.storage.db import database_errors, plain_array, text_array, text_in_schema
from eventkit.storage.outbox.gap_reader import Row
from eventkit.storage.outbox.part_leases import Parts, of_parts

# The leases of the parts that a write concerns, in the order of their names, as a renewal locks them. Each write begins
# with it. `concerned` selects these parts; a process that holds a single part need not look at the rows.
CURRENT_EPOCHS = """with concerned as materialized (
  {concerned}
), fence as materialized (
  select f.part from unnest(%(parts)s::int[], %(leases)s::text[], %(epochs)s::int[]) f(part, lease, epoch)
    join {s}.leases l on l.name = f.lease and l.epoch = f.epoch
   where f.part in (select part from concerned)
   order by l.name for share of l
), verdict as materialized (
  select (select count(*) from fence) = (select count(*) from concerned) as holds
)"""

_SETTLE = f"""{CURRENT_EPOCHS}, gone as (
  delete from {{s}}.outbox o
   where o.position = any(%(positions)s::bigint[]) and {{own}} and (select holds from verdict)
)
select holds from verdict"""


class Settlement:
    """Settles events of some parts, over its own autocommit connection.

    It raises Deposed, and changes nothing, when the lease of a part that it writes for has another epoch.
    """

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, parts: Parts) -> None:
        self._connection = connection
        self._schema = schema
        self.parts = parts
        self.settled = 0  # events
        held = parts.leases()
        self._fence = {
            "parts": plain_array(parts.epochs),
            "leases": text_array(held),
            "epochs": plain_array(held.values()),
        }
        self._own = "true" if len(parts.epochs) == parts.of else of_parts(parts.epochs, parts.of)
        self._settle = self.fenced(_SETTLE)

    def settle(self, positions: Sequence[int]) -> None:
        """Delete the outbox rows that the transport has acknowledged; one statement, idempotent.

        Rows of other parts stay: the relay that holds them sends them again.
        """
        self.write(self._settle, {"positions": plain_array(positions)})
        self.settled += len(positions)
        metrics.SETTLED.add(len(positions))

    def fenced(self, statement: str) -> str:
        """Return a statement that begins with `CURRENT_EPOCHS`, for this schema and these parts."""
        return text_in_schema(statement, self._schema, concerned=self._concerned(), own=self._own)

    def _concerned(self) -> str:
        if len(self.parts.epochs) == 1:
            return f"select {next(iter(self.parts.epochs))}::int as part"
        return f"""select distinct o.shard %% {self.parts.of} as part from {{s}}.outbox o
   where o.position = any(%(positions)s::bigint[]) and {self._own}"""

    def write(self, statement: str, params: Mapping[str, Any]) -> Row:
        """Run a fenced statement; return the columns after its verdict."""
        with database_errors():
            row = self._connection.execute(statement, {**self._fence, **params}, prepare=True).fetchone()
        if row is None or not row[0]:
            held = ", ".join(f"{epoch} of lease {lease!r}" for lease, epoch in self.parts.leases().items())
            raise Deposed(f"epoch {held} is over: another relay has taken it; nothing was changed")
        return tuple(row[1:])
