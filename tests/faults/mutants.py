"""Wrong readers, each in one way: common practice of the field, and this reader without one of its rules.

None of it is reachable from production code. Each has `read`, which publishes nothing but returns rows, as Reader does.
"""

from collections.abc import Callable
from typing import Any

import psycopg

from eventkit.storage.events.tag_sql import TagSql
from eventkit.storage.outbox.barrier import Barrier
from eventkit.storage.outbox.gap_reader import Ask, GapReader, LogPage, Row
from eventkit.storage.outbox.gaps import Gaps, Holders
from eventkit.storage.outbox.outbox import HOLDERS, Outbox, split_holders

Connection = psycopg.Connection[Any]

_PENDING = """select o.position, o.topic, e.stream, e.version, e.id::text
                from eventkit.outbox o join eventkit.events e using (position)"""
_XID = "o.xmin::text::bigint"
_BELOW = f"{_XID} < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"


class ByPosition:
    """`position > cursor`: a lower position that commits later is never read."""

    where = "o.position > {cursor}"
    order = "o.position"

    def __init__(self, connection: Connection) -> None:
        """Read with an autocommit connection."""
        self._connection = connection
        self.cursor: tuple[int, int] = (0, 0)

    def read(self) -> list[Row]:
        """Return rows above the cursor."""
        where = self.where.format(cursor=self.cursor[1], xid=self.cursor[0])
        query = f"{_PENDING} where {where} order by {self.order}"
        rows = self._connection.execute(query).fetchall()
        if rows:
            self._move(rows[-1])
        return rows

    def _move(self, row: Row) -> None:
        self.cursor = (0, row[0])


class WaitingAtAGap(ByPosition):
    """Stops at a gap three reads long, then skips it."""

    patience = 3

    def __init__(self, connection: Connection) -> None:
        """Have waited for nothing."""
        super().__init__(connection)
        self._waited = 0

    def read(self) -> list[Row]:
        """Return rows that follow without a gap, or after a while anyway."""
        before = self.cursor
        rows = super().read()
        if rows and rows[0][0] > before[1] + 1 and self._waited < self.patience:
            self._waited += 1
            self.cursor = before
            return []
        self._waited = 0
        return rows


class ByTransactionId(ByPosition):
    """The popular recipe: below the oldest open transaction, ordered by (transaction id, position)."""

    where = f"{_BELOW} and ({_XID}, o.position) > ({{xid}}, {{cursor}})"
    order = f"{_XID}, o.position"

    def _move(self, row: Row) -> None:
        found = self._connection.execute(f"select {_XID} from eventkit.outbox o where position = %s", (row[0],))
        self.cursor = ((found.fetchone() or (0,))[0], row[0])


class ByPositionBelowTheOldest(ByPosition):
    """Below the oldest open transaction, with a cursor on position."""

    where = f"{_BELOW} and o.position > {{cursor}}"


class Unproven(GapReader):
    """Drops a gap after one more read, even if a transaction still owns it."""

    def start_pending(self) -> None:
        """Start with gaps that believe in nobody."""
        super().start_pending()
        self._gaps = Credulous(self._gaps.holders)


class Credulous(Gaps):
    """Every group is without holders."""

    def add(self, holders: Holders, **what: Any) -> None:  # noqa: ANN401, ARG002 the signature of the broken method
        """Remember a gap and forget its owners."""
        super().add(frozenset(), **what)


class HoldersFirst(Outbox):
    """Reads the list of holders before the snapshot; `between` happens in between."""

    between: Callable[[], None] = staticmethod(lambda: None)

    def fetch(self, ask: Ask) -> LogPage:
        """Answer with a list that is too old."""
        query = f"select ({HOLDERS.format(s=self._schema)})"
        row = self._connection.execute(query).fetchone() or ("",)
        self.between()
        page = super().fetch(ask)
        return LogPage(page.rows, split_holders(row[0]), page.complete, page.server)


class StartAtWhatWasRead(GapReader):
    """Takes the holders before the first read, and that read's last position as the cursor; `between` is in between."""

    between: Callable[[], None] = staticmethod(lambda: None)

    def start_pending(self) -> None:
        """Start with a cursor that the list knows nothing of."""
        horizon = self._source.horizon()
        self.between()
        later = self._source.horizon()
        self._cursor, self._server = later.position, later.server
        self._gaps = Gaps(horizon.holders)
        self._gaps.add(horizon.holders, span=(0, later.position))


class Forgetful(GapReader):
    """Keeps its memory across a restart of the server: `reconnect` gives it another connection."""

    def reconnect(self, source: Outbox) -> None:
        """Continue as if nothing had happened."""
        self._source = source
        self._server = source.horizon().server


class Torn(GapReader):
    """Takes the pages of a span from any snapshots."""

    def start_pending(self) -> None:
        """Start with gaps that never notice."""
        super().start_pending()
        self._gaps.torn = lambda before, after: False  # type: ignore[method-assign]  # noqa: ARG005 the signature of the replaced method


class Oversleeping(GapReader):
    """Never reads a sleeping group before the rows above the cursor."""

    def start_pending(self) -> None:
        """Start with gaps that wake up a read too late."""
        super().start_pending()
        gaps = self._gaps
        woken = gaps.woken
        gaps.woken = lambda after: woken(after) and False  # type: ignore[method-assign]


class NoBarrier(Barrier):
    """Lets everything pass."""

    def __init__(self, connection: Connection, schema: str) -> None:
        """Put nothing into the statement."""
        super().__init__(connection, schema)
        self.sql = "'1'"


class NotDurable(Outbox):
    """Publishes visible rows, durable or not."""

    def __init__(self, connection: Connection, schema: str) -> None:
        """Leave the barrier out of the statement."""
        super().__init__(connection, schema)
        self._pages._begin(NoBarrier(connection, self._schema))


class Unordered(TagSql):
    """Draws positions in an order that the join may hand the events over in, for today's plans it is not always."""

    def __init__(self, schema: str) -> None:
        """Take the last event first."""
        super().__init__(schema)
        assert all("order by d.ord" in statement for statement in self.many)
        self.many = tuple(statement.replace("order by d.ord", "order by d.ord desc") for statement in self.many)
