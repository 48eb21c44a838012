"""The installation: one schema of eventkit's tables in one database, its id, and where it was last known to be.

A restored dump and a cloned disk carry the id with them. So the row also holds the server's system identifier and the
database's oid. Where one of them differs, nobody may act for this installation until an operator has said which of the
two it is: `eventkit db adopt --moved` or `--clone`. The timeline changes with every failover and is a hint alone: it is
said, for a standby that lagged lacks events that readers have.
"""

import logging
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from eventkit.errors import InstallationMoved
from eventkit.storage.db import database_errors

logger = logging.getLogger("eventkit.storage")

_ROW = "select id, system_identifier, database_oid, timeline from {s}.installation"
_DATABASE = "select oid::bigint, current_database() from pg_database where datname = current_database()"
# Each is asked by itself: a managed server may refuse one, and tell the other.
_SYSTEM = "select system_identifier from pg_control_system()"
# Of the log that is being written: the control file has the old one until the checkpoint after a promotion.
_TIMELINE = "select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"
_REMEMBER = """update {s}.installation set system_identifier = %(system_identifier)s, database_oid = %(database_oid)s,
                      timeline = %(timeline)s
                where %(again)s or (system_identifier is null and database_oid is null)"""
_NOT_TOLD = (
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


_failovers_told: set["DatabaseIdentity"] = set()  # by this process


class DatabaseIdentity(msgspec.Struct, frozen=True):
    """A database on a server, as the server tells it; None is what it does not tell."""

    system_identifier: int | None
    database_oid: int | None
    timeline: int | None = None

    def is_another(self, other: "DatabaseIdentity") -> bool:
        """Whether these cannot be the same database: what only one of them tells is not compared."""
        pairs = (self.system_identifier, other.system_identifier), (self.database_oid, other.database_oid)
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)

    def __str__(self) -> str:
        """Name it, without its timeline."""
        return f"server {self.system_identifier or 'unknown'}, database {self.database_oid or 'unknown'}"


class Installation(msgspec.Struct, frozen=True):
    """The row, and where this session is."""

    id: UUID
    remembered: DatabaseIdentity
    here: DatabaseIdentity
    database: str  # its name

    @property
    def has_moved(self) -> bool:
        """Whether this database is not the one that the installation was last known to be in."""
        return self.here.is_another(self.remembered)

    @property
    def has_failed_over(self) -> bool:
        """Whether the server is on another timeline than it was; False where that is not known."""
        here, before = self.here.timeline, self.remembered.timeline
        return None not in (here, before) and here != before


def look(connection: psycopg.Connection[Any], schema: str) -> Installation:
    """Read the row, and ask the server who it is."""
    with database_errors(), connection.transaction():
        id_, *known = connection.execute(_sql(_ROW, schema)).fetchone() or (UUID(int=0), None, None, None)
        oid, name = connection.execute(_DATABASE.encode()).fetchone() or (None, "")
        here = DatabaseIdentity(_told(connection, _SYSTEM), oid, _told(connection, _TIMELINE))
    return Installation(id_, DatabaseIdentity(*known), here, name)


def remember(connection: psycopg.Connection[Any], schema: str) -> Installation:
    """Remember server and database where nothing is remembered yet and the role may; return what is known.

    A server that does not tell its identifier, and another timeline, are said by the one who writes them down.
    """
    found = look(connection, schema)
    if found.remembered.database_oid is None and _may_write(connection, schema):
        if _write(connection, schema, found.here, again=False) and found.here.system_identifier is None:
            logger.warning("%s", unknown_server(found))
        return look(connection, schema)
    if found.has_failed_over and not found.has_moved:
        _tell_failover(connection, schema, found)
    return found


def unknown_server(found: Installation) -> str:
    """Say what cannot be noticed where a server does not tell its identifier."""
    return (
        f"the server of database {found.database!r} does not tell its system identifier, as some managed servers do: a "
        "restore or clone on another server is noticed by the database's oid alone; after one, run `eventkit db adopt`"
    )


def _tell_failover(connection: psycopg.Connection[Any], schema: str, found: Installation) -> None:
    """Say it once, where the role may write it down; else once in this process."""
    params = msgspec.structs.asdict(found.here)
    if _may_write(connection, schema):
        with database_errors():
            if not connection.execute(_sql(_FAILED_OVER, schema), params).rowcount:
                return
    elif found.here in _failovers_told:
        return
    _failovers_told.add(found.here)
    logger.warning(
        "the server went from timeline %s to %s, by a failover or a restore to a point in time: events that it lost "
        "may have been published and applied before; `eventkit projection verify` compares each read model with the "
        "store, `eventkit projection rebuild --accept-lost` makes it right",
        found.remembered.timeline, found.here.timeline,
    )  # fmt: skip


def refuse_moved(connection: psycopg.Connection[Any], schema: str) -> Installation:
    """Raise InstallationMoved on a database in which nobody may act yet; return the installation."""
    found = remember(connection, schema)
    if found.has_moved:
        raise InstallationMoved(
            f"installation {str(found.id)[:8]} in schema {schema!r} of database {found.database!r} was last known on "
            f"{found.remembered}, and this is {found.here}: a restored or copied database may act twice. Run "
            "`eventkit db adopt --moved` where the other one is gone for good, `eventkit db adopt --clone` where it "
            "goes on"
        )
    return found


def adopt(connection: psycopg.Connection[Any], schema: str, *, clone: bool) -> Installation:
    """Let the installation be in this database, all or nothing; a clone gets ids of its own, and groups of its own."""
    with database_errors(), connection.transaction():
        here = look(connection, schema).here
        statements = (_LEAVE, _ABANDON, _CLONE, _NEW_ID) if clone else (_MOVE,)
        for statement in statements:
            connection.execute(_sql(statement, schema), {"server": str(here)})
        _write(connection, schema, here, again=True)
    return look(connection, schema)


def _write(connection: psycopg.Connection[Any], schema: str, here: DatabaseIdentity, *, again: bool) -> bool:
    """Return whether something was written."""
    with database_errors():
        params = {**msgspec.structs.asdict(here), "again": again}
        return connection.execute(_sql(_REMEMBER, schema), params).rowcount > 0


def _told(connection: psycopg.Connection[Any], question: str) -> int | None:
    """Ask the server; None where it does not tell."""
    try:
        with connection.transaction():
            row = connection.execute(question.encode()).fetchone()
    except _NOT_TOLD:
        return None
    return int(row[0]) if row else None


def _may_write(connection: psycopg.Connection[Any], schema: str) -> bool:
    question = "select has_table_privilege(%s, 'UPDATE')"
    return connection.execute(question, (f'"{schema}".installation',)).fetchone() == (True,)


def _sql(statement: str, schema: str) -> bytes:
    return statement.format(s=f'"{schema}"').encode()
