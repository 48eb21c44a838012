"""Applies events to the generation that is being built, by the same transactions and the same fold as the live one.

What differs: the fence is the row of the rebuild, the tables are its shadow's, and the handlers of SQL projections are
watched. They name their tables themselves, and the session's search path leads those names to the shadow; a name with
a schema would go past it, to the live table, and is refused before anything is committed.
"""

from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.errors import RebuildRefused
from eventkit.projection.apply import BatchApplier, Decrypter
from eventkit.projection.batch import Arrival
from eventkit.projection.counters import Counters
from eventkit.projection.define import Projection
from eventkit.projection.transaction import OwnTransaction
from eventkit.storage.projections import Live, LiveTable, Rebuild, Rebuilds, written


class ShadowApplier(BatchApplier):
    """Applies to one rebuild's generation."""

    def __init__(
        self,
        projection: Projection,
        workspace: OwnTransaction,
        rebuild: Rebuild,
        *,
        schema: str,
        live_tables: Sequence[LiveTable] = (),
        opening: Decrypter | None = None,
    ) -> None:
        """Work on a connection whose search path begins with the rebuild's shadow."""
        super().__init__(projection, workspace, schema=schema, decrypter=opening)
        self.rebuild = rebuild
        self.rebuilds = Rebuilds(schema)
        self._live_tables = live_tables if projection.needs_sqlalchemy else ()

    def fence(self, connection: psycopg.Connection[Any]) -> Live:
        """Hold the rebuild's row; whoever cleans up after a dead rebuild waits for this transaction."""
        self.rebuilds.fence(connection, self.projection.name, self.rebuild)
        return self.rebuild.live()

    def fold(self, live: Live, arrivals: Sequence[Arrival], counted: Counters) -> None:
        """Apply events, and make sure that the live tables were not written."""
        super().fold(live, arrivals, counted)
        if self._live_tables and (touched := written(self.workspace.connection, self._live_tables)):
            raise RebuildRefused(
                f"a handler of {self.projection.name!r} names {touched[0]} with its schema and would write to the live "
                "table during a rebuild: name it without (Table(...) without schema=), and let the search path of the "
                "role or of the URL find it"
            )
