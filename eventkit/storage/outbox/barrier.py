"""Makes the rows of a reading statement durable, before the relay publishes them.

A commit with `synchronous_commit = off` is visible before it is flushed, and a crash can lose it. So a statement that
returns rows also locks a row, `for update`: the statement then ends in a synchronous commit, which flushes everything
before it. Each reader has its own row in `readers`. The session of a hung reader may still hold its row, hence `skip
locked`: then an insert of a new row flushes the page. A role that may not lock waits until the server has flushed as
far as it had written. A server that does not report this (Amazon Aurora) is refused then.
"""

import time
import uuid
from typing import Any

import psycopg
from psycopg import errors

from eventkit.errors import DatabaseUnavailable, StorageError
from eventkit.storage.db import in_schema, quoted

_RIGHTS = """select has_table_privilege(%(table)s, 'select') and has_table_privilege(%(table)s, 'insert')
                and has_table_privilege(%(table)s, 'update')"""
_FREE = "select name from {s}.readers where starts_with(name, %(name)s) order by name for update skip locked limit 1"
_MAKE = "insert into {s}.readers (name) values (%(name)s) on conflict do nothing"
_LOCK = "(select count(*)::text from (select from {s}.readers where name = %(reader)s for update skip locked) locked)"
_WRITTEN = "pg_current_wal_insert_lsn()::text"
_FLUSHED = "select pg_current_wal_flush_lsn() >= %s::pg_lsn"
_MAX_FLUSH_WAIT = 30.0  # seconds; the server's log writer works every 0.2 s


class Barrier:
    """One reader's flush, on its autocommit connection: make `sql` a part of the statement, and add its `params`."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._name = connection.info.parameter_status("application_name") or "reader"
        rights = connection.execute(_RIGHTS, {"table": f"{quoted(schema)}.readers"}).fetchone()
        self._locks = rights == (True,)
        self.sql = _LOCK if self._locks else _WRITTEN
        self.params: dict[str, str] = {}
        if self._locks:
            self.params["reader"] = self._row()
        else:
            self._check_flush("0/0")

    def pass_through(self, reported: str | None) -> None:
        """Return when the rows of a statement are durable; `reported` is the value of `sql`, None without rows."""
        if reported is None or (self._locks and reported != "0"):
            return
        if self._locks:
            self.params["reader"] = self._make(f"{self._name} {uuid.uuid4().hex[:8]}")  # its commit flushes, too
            return
        deadline = time.monotonic() + _MAX_FLUSH_WAIT
        while not self._check_flush(reported):
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(
                    f"PostgreSQL has not flushed its log up to {reported} in {_MAX_FLUSH_WAIT:g} s"
                )
            time.sleep(0.002)

    def _row(self) -> str:
        found = self._connection.execute(in_schema(_FREE, self._schema), {"name": self._name}).fetchone()
        return str(found[0]) if found else self._make(f"{self._name} {uuid.uuid4().hex[:8]}")

    def _make(self, name: str) -> str:
        self._connection.execute(in_schema(_MAKE, self._schema), {"name": name})
        return name

    def _check_flush(self, written: str) -> bool:
        try:
            return self._connection.execute(_FLUSHED, [written]).fetchone() == (True,)
        except (errors.ObjectNotInPrerequisiteState, errors.FeatureNotSupported, errors.InsufficientPrivilege) as error:
            raise StorageError(
                f"this server does not report how far its log is flushed ({str(error).splitlines()[0]}), and the role "
                f"may not lock a row instead: grant select, insert, update on {quoted(self._schema)}.readers to it"
            ) from error
