"""The base class of projections: a name, a declared version, handlers by event class, and `apply` for decoded events.

`TableProjection` (table.py) computes rows of one table from events: the fast and simple kind. `SqlProjection` (sql.py)
runs its own statements. Both are declared at import time and hold no connection; the `Projector` runs them.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import psycopg

from eventkit.domain.catalog import Catalog
from eventkit.errors import ProjectionError
from eventkit.projection.batch import Source
from eventkit.projection.dispatch import Function, HandlerTable, Policy, Step
from eventkit.projection.retry_policy import Retry, check_retry, check_timeout
from eventkit.projection.transaction import OwnTransaction, Workspace
from eventkit.storage.projections import DeclaredProjection, TableName, find_tables, is_message
from eventkit.transports.base import Transport

F = TypeVar("F", bound=Function)
_MAX_CONCURRENCY = 64
_PARTS_PER_LANE = 2  # transactions of each lane from one receive, so that a slow handler delays few others
_CANCEL_TIME = 20.0  # seconds
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,99}")


class Projection:
    """The base class of TableProjection and SqlProjection."""

    kind = "projection"  # as stored in the database
    needs_sqlalchemy = False
    acts = False  # has side effects beyond a read model, which a rebuild must not repeat
    answers = False  # sends replies before messages are acknowledged; offsets are saved only afterwards
    unversioned = False  # accepts messages without a version, each once
    prompt = False  # takes a small batch at once instead of waiting for a larger one: a caller waits
    batch = 4_000  # most messages in a transaction
    concurrency = 4  # concurrent transactions in one process, if handlers are `async def`
    retry = Retry()  # of handlers without a policy of their own
    timeout = 60.0  # seconds for a handler: between two statements, or in all if it is `async def`
    since: datetime | None = None  # events recorded before this time have no effect
    tables: Sequence[TableName] = ()  # the tables that it writes and a rebuild builds again
    path = "package.module:projection"  # its import path, once it was loaded from there

    def __init__(self, name: str, catalog: Catalog, *, version: int = 1, categories: Sequence[str] = ()) -> None:
        """Declare a projection; increase `version` when its handlers change, so that it is rebuilt before it continues.

        `categories` are the categories of streams that it reads, and that pruning waits for; all by default. Raise
        ProjectionError for an invalid name.
        """
        if not _NAME.fullmatch(name):
            raise ProjectionError(
                f"projection name {name!r} must be a small letter and up to 99 small letters, digits, '_', '.', '-'"
            )
        self.name = name
        self.catalog = catalog
        self.version = version
        self.categories = tuple(categories)
        self.handlers = HandlerTable(name, catalog)

    def loaded_from(self, path: str) -> None:
        """Keep the import path, by which errors and a rebuild's workers name the projection."""
        self.path = path

    def declare(self, retry: Retry | None, timeout: float | None = None) -> None:
        """Set the default retry policy and the default timeout, in seconds, of the handlers."""
        of = f"projection {self.name!r}"
        self.retry = type(self).retry if retry is None else check_retry(retry, of=of)
        self.timeout = type(self).timeout if timeout is None else check_timeout(timeout, of=of)

    def policy(self, cls: type, retry: Retry | None, timeout: float | None = None) -> Policy:
        """Return the policy of the handler of an event class; raise ProjectionError for invalid values."""
        of = f"the handler of {cls.__name__} in projection {self.name!r}"
        own = None if timeout is None else check_timeout(timeout, of=of)
        return Policy(self.retry if retry is None else check_retry(retry, of=of), own)

    def policies(self) -> dict[str, Any]:
        """Return all policies as JSON values: the default of this kind, and those of the handlers."""
        return {
            "default": {**type(self).retry.plain(), "timeout": type(self).timeout},
            "handlers": [
                {
                    "source": handler.source,
                    "type": handler.type,
                    "handler": handler.name,
                    **handler.retry.plain(),
                    "timeout": self.timeout if handler.policy.timeout is None else handler.policy.timeout,
                }
                for handler in self.handlers
            ],
        }

    def declare_concurrency(self, concurrency: int) -> None:
        """Set the number of concurrent transactions in one process, if handlers are `async def`."""
        if not 1 <= concurrency <= _MAX_CONCURRENCY:
            raise ProjectionError(
                f"projection {self.name!r}: concurrency={concurrency} must be 1 to {_MAX_CONCURRENCY}; each takes a "
                "connection to PostgreSQL"
            )
        self.concurrency = concurrency

    @property
    def asynchronous(self) -> bool:
        """Whether a handler is `async def`."""
        return self.handlers.asynchronous

    @property
    def lanes(self) -> int:
        """The number of concurrent transactions in one process."""
        return self.concurrency if self.asynchronous else 1

    @property
    def received(self) -> int:
        """The number of messages to receive at once: enough for all lanes."""
        if self.lanes == 1:
            return self.batch
        return max(self.batch, min(self.batch * self.lanes * _PARTS_PER_LANE, Projection.batch))

    @property
    def idle_limit(self) -> float:
        """Seconds that its session may be idle in a transaction; an `async def` handler is cancelled earlier."""
        return self.timeout + _CANCEL_TIME if self.asynchronous else self.timeout

    def workspace(
        self,
        connection: psycopg.Connection[Any],
        *,
        interrupted: Callable[[], bool] = lambda: False,
        shadow: str | None = None,
    ) -> OwnTransaction:
        """Return a workspace for its handlers; `interrupted` returns whether to stop.

        `shadow` is the PostgreSQL schema of a rebuild's tables.
        """
        return OwnTransaction(
            connection,
            with_sqlalchemy=self.needs_sqlalchemy,
            async_timeout=self.timeout if self.asynchronous else None,
            interrupted=interrupted,
            shadow=shadow,
        )

    def reads(self, stream: str) -> bool:
        """Whether it reads a stream; messages without a version have no category and are always read."""
        return not self.categories or stream.partition("-")[0] in self.categories or is_message(stream)

    def declared(self, connection: psycopg.Connection[Any]) -> DeclaredProjection:
        """Return the values to store in its row; its tables by their names in the database."""
        tables = [table.place for table in find_tables(connection, self.tables)]
        named = (self.name, self.kind, self.catalog.name)
        policies = msgspec.json.encode(self.policies()).decode()
        return DeclaredProjection(*named, tables, list(self.categories), self.version, self.acts, policies)

    def check(self, connection: psycopg.Connection[Any]) -> None:
        """Raise ProjectionError if the database lacks a table that the projection needs."""

    def apply(self, workspace: Workspace, steps: Sequence[Step]) -> None:
        """Apply events in the workspace's open transaction; the events of each stream are in order."""
        raise NotImplementedError


class AnsweringProjection(Projection):
    """A projection that sends replies before it acknowledges the messages that it answers."""

    answers = True

    def replying(self, source: Source, transport: Transport, connect: Callable[[], psycopg.Connection[Any]]) -> Source:
        """Return a source around `source` that sends the replies over `transport`; `connect()` opens a connection."""
        raise NotImplementedError
