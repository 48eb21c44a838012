"""Apply events to the generation that is being built, by the transactions and the fold of the live one.

Three things differ: the fence is the row of the rebuild, the tables are its shadow tables, and handlers of SQL
projections are checked. They name their tables themselves, and the session's search path resolves the names to the
shadow. A name with a schema would reach the live table: it is refused before the commit.
"""

from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.errors import RebuildRefused
from eventkit.projection.apply import BatchApplier, Decrypter
from eventkit.projection.batch import Arrival
from eventkit.projection.counters import Counters
from eventkit.projection.define import Projection
from eventkit.projection.transaction import Workspace
from eventkit.storage.projections import Live, LiveTable, Rebuild, Rebuilds, written


class ShadowApplier(BatchApplier):
    """Applies to the generation of one rebuild."""

    def __init__(
        self,
        projection: Projection,
        workspace: Workspace,
        rebuild: Rebuild,
        *,
        schema: str,
        live_tables: Sequence[LiveTable] = (),
        decrypter: Decrypter | None = None,
    ) -> None:
        """Work on a connection whose search path begins with the rebuild's shadow schema."""
        super().__init__(projection, workspace, schema=schema, decrypter=decrypter)
        self.rebuild = rebuild
        self.rebuilds = Rebuilds(schema)
        self._live_tables = live_tables if projection.needs_sqlalchemy else ()

    def fence(self, connection: psycopg.Connection[Any]) -> Live:
        """Lock the rebuild's row, so that the cleanup after a dead rebuild waits for this transaction."""
        self.rebuilds.fence(connection, self.projection.name, self.rebuild)
        return self.rebuild.live()

    def fold(self, arrivals: Sequence[Arrival], counted: Counters) -> None:
        """Apply events; raise RebuildRefused if a live table was written."""
        super().fold(arrivals, counted)
        if self._live_tables and (touched := written(self.workspace.connection, self._live_tables)):
            raise RebuildRefused(
                f"a handler of {self.projection.name!r} names {touched[0]} with its schema and would write to the live "
                "table during a rebuild: name it without (Table(...) without schema=), and let the search path of the "
                "role or of the URL find it"
            )
