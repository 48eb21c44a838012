"""The installation: one schema of eventkit's tables in one database, with an id and its last known place.

A restored dump and a cloned disk contain the id. So the row also has the server's system identifier and the database's
oid. Where one of them differs, no process may act for this installation until an operator runs `eventkit db adopt
--moved` or `--clone`. The timeline changes with every failover, and is only logged: a standby that lagged may lack
events that readers have.
"""

import logging
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from eventkit.errors import InstallationMoved
from eventkit.storage.db import database_errors, in_schema, quoted

logger = logging.getLogger("eventkit.storage")

_ROW = "select id, system_identifier, database_oid, timeline from {s}.installation"
_DATABASE = "select oid::bigint, current_database() from pg_database where datname = current_database()"
# Two separate statements: a managed server may refuse one and answer the other.
_SYSTEM = "select system_identifier from pg_control_system()"
# The timeline of the current log file: the control file has the old one until the checkpoint after a promotion.
_TIMELINE = "select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"
_REMEMBER = """update {s}.installation set system_identifier = %(system_identifier)s, database_oid = %(database_oid)s,
                      timeline = %(timeline)s
                where %(again)s or (system_identifier is null and database_oid is null)"""
_NOT_AVAILABLE = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.ObjectNotInPrerequisiteState,  # a standby has no timeline of its own
)
_FAILED_OVER = """update {s}.installation set timeline = %(timeline)s where timeline is distinct from %(timeline)s"""
_NEW_ID = "update {s}.installation set id = gen_random_uuid()"
# Read models that have drawn an incarnation here, and their groups, are this database's own already.
_MOVE = "update {s}.projections set server = %(server)s where server <> %(server)s"
_CLONE = """update {s}.projections set server = %(server)s, incarnation = gen_random_uuid()
             where server <> %(server)s"""
_LEAVE = (
    """delete from {s}.groups where projection not in (select name from {s}.projections where server = %(server)s)"""
)
_ABANDON = "update {s}.groups set abandoned_at = coalesce(abandoned_at, clock_timestamp())"


_failovers_reported: set["DatabaseIdentity"] = set()  # by this process


class DatabaseIdentity(msgspec.Struct, frozen=True):
    """A database on a server, as the server reports it; None where it does not."""

    system_identifier: int | None
    database_oid: int | None
    timeline: int | None = None

    def is_another(self, other: "DatabaseIdentity") -> bool:
        """Whether these are two databases; a field that one of them lacks is not compared."""
        pairs = (self.system_identifier, other.system_identifier), (self.database_oid, other.database_oid)
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)

    def __str__(self) -> str:
        """Name it, without its timeline."""
        return f"server {self.system_identifier or 'unknown'}, database {self.database_oid or 'unknown'}"


class Installation(msgspec.Struct, frozen=True):
    """The installation's row, and this session's database."""

    id: UUID
    remembered: DatabaseIdentity
    here: DatabaseIdentity
    database: str  # its name

    @property
    def has_moved(self) -> bool:
        """Whether this database is not the installation's last known one."""
        return self.here.is_another(self.remembered)

    @property
    def has_failed_over(self) -> bool:
        """Whether the server's timeline has changed; False where it is unknown."""
        here, before = self.here.timeline, self.remembered.timeline
        return None not in (here, before) and here != before


def look(connection: psycopg.Connection[Any], schema: str) -> Installation:
    """Read the installation's row, and the server's identity."""
    with database_errors(), connection.transaction():
        id_, *known = connection.execute(in_schema(_ROW, schema)).fetchone() or (UUID(int=0), None, None, None)
        oid, name = connection.execute(_DATABASE.encode()).fetchone() or (None, "")
        here = DatabaseIdentity(_number(connection, _SYSTEM), oid, _number(connection, _TIMELINE))
    return Installation(id_, DatabaseIdentity(*known), here, name)


def remember(connection: psycopg.Connection[Any], schema: str) -> Installation:
    """Store server and database where the row has none yet and the role may update it; return the installation.

    Log a warning for a server that does not report its identifier, and for another timeline.
    """
    found = look(connection, schema)
    if found.remembered.database_oid is None and _may_write(connection, schema):
        if _write(connection, schema, found.here, again=False) and found.here.system_identifier is None:
            logger.warning("%s", unknown_server(found))
        return look(connection, schema)
    if found.has_failed_over and not found.has_moved:
        _report_failover(connection, schema, found)
    return found


def unknown_server(found: Installation) -> str:
    """Return a warning: eventkit cannot detect some copies where a server does not report its identifier."""
    return (
        f"the server of database {found.database!r} does not tell its system identifier, like some managed servers: a "
        "restore or clone on another server is noticed by the database's oid alone; after one, run `eventkit db adopt`"
    )


def _report_failover(connection: psycopg.Connection[Any], schema: str, found: Installation) -> None:
    """Log a failover once, where the role may store the timeline; else once in this process."""
    params = msgspec.structs.asdict(found.here)
    if _may_write(connection, schema):
        with database_errors():
            if not connection.execute(in_schema(_FAILED_OVER, schema), params).rowcount:
                return
    elif found.here in _failovers_reported:
        return
    _failovers_reported.add(found.here)
    logger.warning(
        "the server went from timeline %s to %s, by a failover or a restore to a point in time: events that it lost "
        "may have been published and applied before; `eventkit projection verify` compares each read model with the "
        "store, `eventkit projection rebuild --accept-lost` repairs it",
        found.remembered.timeline, found.here.timeline,
    )  # fmt: skip


def refuse_moved(connection: psycopg.Connection[Any], schema: str) -> Installation:
    """Return the installation; raise InstallationMoved on a database that no operator has adopted yet."""
    found = remember(connection, schema)
    if found.has_moved:
        raise InstallationMoved(
            f"installation {str(found.id)[:8]} in schema {schema!r} of database {found.database!r} was last known on "
            f"{found.remembered}, and this is {found.here}: with a restored or copied database, events may be sent and "
            "handled twice. Run `eventkit db adopt --moved` if the other database is gone for good, "
            "`eventkit db adopt --clone` if it stays in use"
        )
    return found


def adopt(connection: psycopg.Connection[Any], schema: str, *, clone: bool) -> Installation:
    """Store this database as the installation's, in one transaction; a clone gets new ids and new groups."""
    with database_errors(), connection.transaction():
        here = look(connection, schema).here
        statements = (_LEAVE, _ABANDON, _CLONE, _NEW_ID) if clone else (_MOVE,)
        for statement in statements:
            connection.execute(in_schema(statement, schema), {"server": str(here)})
        _write(connection, schema, here, again=True)
    return look(connection, schema)


def _write(connection: psycopg.Connection[Any], schema: str, here: DatabaseIdentity, *, again: bool) -> bool:
    """Store the identity, `again` also over a stored one; return whether the row changed."""
    with database_errors():
        params = {**msgspec.structs.asdict(here), "again": again}
        return connection.execute(in_schema(_REMEMBER, schema), params).rowcount > 0


def _number(connection: psycopg.Connection[Any], statement: str) -> int | None:
    """Return the number that a statement reads; None where the server refuses it."""
    try:
        with connection.transaction():
            row = connection.execute(statement.encode()).fetchone()
    except _NOT_AVAILABLE:
        return None
    return int(row[0]) if row else None


def _may_write(connection: psycopg.Connection[Any], schema: str) -> bool:
    statement = "select has_table_privilege(%s, 'UPDATE')"
    return connection.execute(statement, (f"{quoted(schema)}.installation",)).fetchone() == (True,)
