"""An append that applies projections in its own transaction: events and read model change together, or not at all.

A savepoint of ours stands around both, so whatever fails, in the append or in a handler, takes all of the call back and
leaves the caller's transaction usable. What is applied, and how, is not known here: `eventkit.projection.inline` does
it. Called by `EventStore`, where it was given `inline=`.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from eventkit.domain.master_keys import MasterKeys
from eventkit.errors import UnsupportedConnection
from eventkit.storage.db.asyncpg_statements import is_asyncpg
from eventkit.storage.db.execute import Asynchronous, Executor, OpenConnection, Steps, Synchronous, run, within
from eventkit.storage.events.append import Appended, cause, fail
from eventkit.storage.events.append_sql import Entry

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

_SAVEPOINT = "savepoint eventkit_inline"
_ROLLBACK = "rollback to savepoint eventkit_inline"
_RELEASE = "release savepoint eventkit_inline"


class InlineContext(NamedTuple):
    """The caller's transaction, and what else applying needs of the store."""

    opened: OpenConnection
    schema: str
    masters: MasterKeys | None


@runtime_checkable
class Inlined(Protocol):
    """What applies projections; `eventkit.Inline` is one."""

    def apply_appended(self, site: InlineContext, appended: Sequence[Appended]) -> None:
        """Apply what this transaction has appended."""


class InlineAppend:
    """One append."""

    def __init__(
        self, door: Executor, inline: Inlined, entries: list[Entry], *, schema: str, masters: MasterKeys | None
    ) -> None:
        self._door = door
        self._inline = inline
        self._entries = entries
        self._schema = schema
        self._masters = masters

    def run(self, connection: Synchronous, steps: Steps[list[Appended]]) -> list[Appended]:
        """Append and apply."""
        opened = self._door.open(connection)
        if not opened.is_psycopg:
            raise self._refused("SQLAlchemy over asyncpg")
        try:
            opened.execute(_SAVEPOINT, None)
            appended = run(opened.execute, steps)
            # crash point: appended, not applied -> the caller's transaction is gone, with the events
            self._inline.apply_appended(InlineContext(opened, self._schema, self._masters), appended)
            # crash point: applied, not kept -> the same, with the read model
            opened.execute(_RELEASE, None)
        except BaseException as error:
            _take_back(opened)
            if isinstance(error, psycopg.Error | DBAPIError) and isinstance(cause(error), psycopg.OperationalError):
                fail(error, self._entries)  # a deadlock, a lost connection: not what a handler's statement says
            raise
        return appended  # crash point: applied, not committed -> the caller has not committed: neither is there

    async def run_async(self, connection: Asynchronous, steps: Steps[list[Appended]]) -> list[Appended]:
        """Do that on an asynchronous session or connection of SQLAlchemy, which can run what is synchronous."""
        self._door.check_async(connection)
        if isinstance(connection, psycopg.AsyncConnection):
            raise self._refused("a psycopg.AsyncConnection")
        if is_asyncpg(connection):
            raise self._refused("an asyncpg.Connection")
        sessions = cast("AsyncConnection | AsyncSession", connection)
        return await within(sessions, lambda synchronous: self.run(synchronous, steps))

    def _refused(self, given: str) -> UnsupportedConnection:
        return UnsupportedConnection(
            f"{self._door.name}: inline projections need SQLAlchemy's AsyncSession or AsyncConnection over "
            f"postgresql+psycopg://, this is {given}: append on one of those, or without `inline=` and let a projector "
            "follow"
        )


def _take_back(opened: OpenConnection) -> None:
    with suppress(psycopg.Error, SQLAlchemyError):  # the error that is under way says more
        opened.execute(_ROLLBACK, None)
        opened.execute(_RELEASE, None)
