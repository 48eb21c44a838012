"""Appends and applies projections in one transaction: events and read model change together, or not at all.

Both run inside a savepoint, so a failure of the append or of a handler undoes the whole call and leaves the caller's
transaction usable. A transaction that begins with the append needs no savepoint: it is rolled back itself, and the
caller's next statement begins another. A conflict has written nothing, so nothing is undone and the locks of a
decision's tags stay. `inline_sql` has the statements; `eventkit.projection.inline` applies the projections. Called by
an `EventStore` with `inline=`.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

import psycopg
from msgspec.structs import replace
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from eventkit.domain.master_keys import MasterKeys
from eventkit.errors import ConcurrencyError, ProjectionError, UnsupportedConnection
from eventkit.storage.db import Asynchronous, Executor, OpenConnection, Synchronous, is_asyncpg, run, within
from eventkit.storage.entry import Entry
from eventkit.storage.events.append import Appended, Call, Written, append_on, append_steps, cause, fail
from eventkit.storage.events.append_sql import SourceTopics
from eventkit.storage.events.inline_sql import InlineSql, Target, following_params
from eventkit.storage.events.tag_sql import TagSql
from eventkit.storage.privacy import Encryption

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

_SAVEPOINT = "savepoint eventkit_inline"
_ROLLBACK = "rollback to savepoint eventkit_inline"
_RELEASE = "release savepoint eventkit_inline"


class InlineContext(NamedTuple):
    """The caller's transaction, the store's schema and its master keys."""

    opened: OpenConnection
    schema: str
    masters: MasterKeys | None


class Inlined(NamedTuple):
    """An append that was written, and the projections that follow it."""

    source: str
    entries: list[Entry]
    targets: list[Target]
    written: Written


@runtime_checkable
class InlineProjections(Protocol):
    """Applies projections to appended events; `eventkit.Inline` implements it."""

    def targets(self, entries: Sequence[Entry]) -> list[Target]:
        """Return the projections that read any of the entries, in order of name."""

    def apply_appended(self, site: InlineContext, append: Inlined) -> None:
        """Apply the events that this transaction has appended."""


class InlineAppends:
    """The appends of one store."""

    def __init__(
        self, projections: InlineProjections, catalog: SourceTopics, sealing: Encryption, *, schema: str
    ) -> None:
        self._projections = projections
        self._catalog = catalog
        self._sealing = sealing
        self._schema = schema
        self._sql = InlineSql(schema)

    def run(self, executor: Executor, connection: Synchronous, call: Call) -> list[Appended]:
        """Append and apply."""
        targets = self._projections.targets(call.entries)
        if targets:
            call = replace(call, params=following_params(self._schema, call.entries, targets))
        sql = self._sql.following(len(targets))
        opened = executor.open(connection, keeps=call.keeps_cursors)
        if not targets:
            return self._write(opened, sql, call).appended
        if not opened.is_psycopg:
            raise _refused(executor, "SQLAlchemy over asyncpg")
        begins, written = opened.is_idle(), None
        try:
            if not begins:
                opened.execute(_SAVEPOINT, None)
            written = self._write(opened, sql, call)
            # crash point: appended, not applied -> the caller's transaction is gone, with the events
            site = InlineContext(opened, self._schema, self._sealing.masters)
            self._projections.apply_appended(site, Inlined(self._catalog.name, call.entries, targets, written))
            # crash point: applied, savepoint not released -> the same, with the read model
            _keep(opened, begins=begins)
        except BaseException as error:
            if written is None and isinstance(error, ConcurrencyError) and error.transaction_usable:
                _keep(opened, begins=begins)
                raise
            _take_back(opened, begins=begins)
            if isinstance(error, psycopg.Error | DBAPIError) and isinstance(cause(error), psycopg.OperationalError):
                fail(error, call.entries)  # a deadlock or a lost connection, not an error of a handler's statement
            raise
        return written.appended  # crash point: applied, not committed -> neither events nor read model are there

    def _write(self, opened: OpenConnection, sql: TagSql, call: Call) -> Written:
        given = sql, self._catalog, call, self._sealing
        if isinstance(opened.connection, psycopg.Connection):
            return append_on(opened.execute, *given)
        return run(opened.execute, append_steps(*given))

    async def run_async(self, executor: Executor, connection: Asynchronous, call: Call) -> list[Appended]:
        """Append and apply on an asynchronous session or connection of SQLAlchemy, which can run synchronous code."""
        executor.check_async(connection)
        if isinstance(connection, psycopg.AsyncConnection):
            raise _refused(executor, "a psycopg.AsyncConnection")
        if is_asyncpg(connection):
            raise _refused(executor, "an asyncpg.Connection")
        sessions = cast("AsyncConnection | AsyncSession", connection)
        return await within(sessions, lambda synchronous: self.run(executor, synchronous, call))


def _refused(executor: Executor, given: str) -> UnsupportedConnection:
    return UnsupportedConnection(
        f"{executor.name}: inline projections need SQLAlchemy's AsyncSession or AsyncConnection over "
        f"postgresql+psycopg://, this is {given}: append on one of those, or leave `inline=` out and run a projector"
    )


def _keep(opened: OpenConnection, *, begins: bool) -> None:
    """Release the savepoint, if the transaction is as it was: a COMMIT of an aborted one raises no error."""
    if opened.is_lost():
        raise ProjectionError(
            "an inline projection's handler has ended the transaction or left it aborted: a handler must not end it, "
            "and must not swallow a database error (it may use a savepoint)"
        )
    if not begins:
        opened.execute(_RELEASE, None)


def _take_back(opened: OpenConnection, *, begins: bool) -> None:
    with suppress(psycopg.Error, SQLAlchemyError):  # the error being raised says more
        for statement in ("rollback",) if begins else (_ROLLBACK, _RELEASE):
            opened.execute(statement, None)
