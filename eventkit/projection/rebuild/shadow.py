"""The row and the shadow tables of a rebuild, and the cleanup after dead rebuilds, on one autocommit connection.

The session of this connection holds the lock against a second rebuild: when it ends, the rebuild counts as dead.
"""

import logging
from typing import Any

import msgspec
import psycopg
from psycopg.errors import InsufficientPrivilege

from eventkit.errors import RebuildRefused
from eventkit.projection.define import Projection
from eventkit.storage.projections import (
    Checkpoints,
    LiveTable,
    Rebuild,
    Rebuilds,
    create_shadow,
    dead_generations,
    definition,
    drop_shadow,
    find_tables,
    forget,
    is_lost,
    refuse_keyless,
    refuse_same_names,
    register,
    search_path,
    shadow_name,
)

logger = logging.getLogger("eventkit.projection")


class BegunBuild(msgspec.Struct, frozen=True):
    """A rebuild, the live tables that it will replace, and the search path of its sessions."""

    rebuild: Rebuild
    tables: list[LiveTable]
    search_path: str


class ShadowBuild:
    """The shadow of one projection."""

    def __init__(self, connection: psycopg.Connection[Any], projection: Projection, schema: str) -> None:
        """Build on an autocommit connection."""
        self.connection = connection
        self._projection = projection
        self._schema = schema
        self._rebuilds = Rebuilds(schema)

    def begin(self, *, total: int, resume: bool) -> BegunBuild:
        """Take the projection's rebuild lock, then resume a dead rebuild, or remove it and create a new one."""
        projection, connection = self._projection, self.connection
        _refuse(projection)
        self._rebuilds.lock(connection, projection.name)
        with connection.transaction():
            projection.check(connection)
            tables = self._live_tables()
            register(connection, self._schema, projection.declared(connection), rebuilds=True)
            shape = definition(connection, tables)
            refuse_keyless(connection, tables)
            rebuild = self._resumed(shape) if resume else None
            if rebuild is None:
                self._remove_dead()
                rebuild = self._create(tables, shape, total)
        return BegunBuild(rebuild, tables, f'"{rebuild.shadow}", {search_path(connection)}')

    def clean(self, generation: int) -> int:
        """Delete the checkpoints and letters of dead generations; return how many streams `generation` has parked."""
        for number in dead_generations(self.connection, self._schema):
            forget(self.connection, self._schema, number)
        return Checkpoints(self._schema).parked(self.connection, generation)

    def save_progress(self, generation: int, done: int, total: int) -> None:
        """Save the progress for `eventkit projection status`."""
        self._rebuilds.progress(self.connection, self._projection.name, generation, done, total)

    def _live_tables(self) -> list[LiveTable]:
        tables = find_tables(self.connection, self._projection.tables)
        if len(tables) < len(self._projection.tables):
            missing = {name.name for name in self._projection.tables} - {table.name for table in tables}
            raise RebuildRefused(
                f"tables {', '.join(sorted(missing))} of projection {self._projection.name!r} do not exist in this "
                "database: create them, their migrations are yours"
            )
        refuse_same_names(tables)
        return tables

    def _resumed(self, shape: str) -> Rebuild | None:
        """Return the dead rebuild to resume, or None."""
        rebuild = self._rebuilds.find(self.connection, self._projection.name)
        if rebuild is None:
            return None
        if is_lost(self.connection, rebuild.shadow):
            logger.info("%s: a crash of the server has emptied the shadow, it is fed again", self._projection.name)
            return None
        was = (rebuild.declared_version, rebuild.definition, rebuild.categories)
        if was != (self._projection.version, shape, list(self._projection.categories)):
            raise RebuildRefused(
                f"the rebuild of {self._projection.name!r} that died was of version {rebuild.declared_version}, or its "
                "tables were altered since, or it reads other categories: rebuild it without --resume"
            )
        return rebuild

    def _remove_dead(self) -> None:
        """Remove a dead rebuild, after the last of its workers has ended."""
        dead = self._rebuilds.end(self.connection, self._projection.name)
        if dead is not None:
            drop_shadow(self.connection, dead.shadow)
        for number in dead_generations(self.connection, self._schema):
            forget(self.connection, self._schema, number)

    def _create(self, tables: list[LiveTable], shape: str, total: int) -> Rebuild:
        generation = self._rebuilds.draw(self.connection)
        shadow = shadow_name(self._schema, generation)
        reads = list(self._projection.categories)
        rebuild = Rebuild(generation, self._projection.version, shadow, shape, reads, total)
        self._rebuilds.begin(self.connection, self._projection.name, rebuild)
        try:
            create_shadow(self.connection, shadow, tables)
        except InsufficientPrivilege as error:
            raise RebuildRefused(
                f"a rebuild makes its tables in a PostgreSQL schema of its own ({shadow}) and must own the live ones: "
                f"{error.diag.message_primary}; grant create on the database to this role, or rebuild as another"
            ) from error
        return rebuild


def _refuse(projection: Projection) -> None:
    projection.catalog.check()
    if projection.acts:
        raise RebuildRefused(
            f"{projection.name!r} acts on events: a rebuild would do again what was done once; there is no read model"
        )
    if not projection.tables:
        raise RebuildRefused(
            f"projection {projection.name!r} does not say which tables its handlers write: declare them, as in "
            "SqlProjection(..., tables=[departures])"
        )
