"""What a projection is: a name, a declared version, handlers by event class, and a way to apply decoded events.

`TableProjection` (table.py) folds events into rows of one table: the fast and simple kind. `SqlProjection` (sql.py)
runs statements of its own. Both are declared at import time and hold no connection; the `Projector` runs them.
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
from eventkit.projection.transaction import OwnTransaction
from eventkit.storage.projections import DeclaredProjection, TableName, find_tables, is_message
from eventkit.transports.base import Transport

F = TypeVar("F", bound=Function)
_MOST_CONCURRENT = 64
_PARTS_OF_A_LANE = 2  # transactions of each lane from one receive, so that a slow handler holds up few others
_CANCELLING = 20.0  # seconds
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,99}")


class Projection:
    """The part that both kinds share."""

    kind = "projection"  # as the database remembers it
    needs_sqlalchemy = False
    acts = False  # does more than make a read model: what was done once must not be done again by a rebuild
    answers = False  # replies leave before messages are acknowledged, so a place is saved only afterwards
    unversioned = False  # takes messages without a version, each once
    prompt = False  # rather a small batch now than a larger one a little later: somebody waits
    batch = 4_000  # messages in a transaction, at most
    concurrency = 4  # transactions at a time in one process, where handlers are `async def`
    retry = Retry()  # of the handlers that have none of their own
    timeout = 60.0  # seconds for a handler: between two statements, altogether where it is `async def`
    since: datetime | None = None  # events that were recorded before have no effect
    tables: Sequence[TableName] = ()  # what it writes, and a rebuild makes anew
    path = "package.module:projection"  # where an operator finds it, once it was loaded from there

    def __init__(self, name: str, catalog: Catalog, *, version: int = 1, categories: Sequence[str] = ()) -> None:
        """Declare a projection; raise `version` when its fold changes: it then asks for a rebuild, and mixes no folds.

        `categories` are the categories of streams that it reads, wherever from, and that pruning waits for: all unless
        given.
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

    def declare(self, retry: Retry | None, timeout: float | None = None) -> None:
        """Set the policy of the handlers that have none of their own, and how many seconds a handler may take."""
        of = f"projection {self.name!r}"
        self.retry = type(self).retry if retry is None else check_retry(retry, of=of)
        self.timeout = type(self).timeout if timeout is None else check_timeout(timeout, of=of)

    def policy(self, cls: type, retry: Retry | None, timeout: float | None = None) -> Policy:
        """Return how the handler of an event class is called; ProjectionError refuses what makes no sense."""
        of = f"the handler of {cls.__name__} in projection {self.name!r}"
        own = None if timeout is None else check_timeout(timeout, of=of)
        return Policy(self.retry if retry is None else check_retry(retry, of=of), own)

    def policies(self) -> dict[str, Any]:
        """Return all policies as JSON has them: what this kind has by default, and those of the handlers."""
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
        """Set how many transactions run at a time in one process, where handlers are `async def`."""
        if not 1 <= concurrency <= _MOST_CONCURRENT:
            raise ProjectionError(
                f"projection {self.name!r}: concurrency={concurrency} must be 1 to {_MOST_CONCURRENT}; each takes a "
                "connection to PostgreSQL"
            )
        self.concurrency = concurrency

    @property
    def asynchronous(self) -> bool:
        """Whether a handler is `async def`."""
        return self.handlers.asynchronous

    @property
    def lanes(self) -> int:
        """How many transactions run at a time in one process."""
        return self.concurrency if self.asynchronous else 1

    @property
    def received(self) -> int:
        """How many messages a source gives at once: enough for all lanes."""
        if self.lanes == 1:
            return self.batch
        return max(self.batch, min(self.batch * self.lanes * _PARTS_OF_A_LANE, Projection.batch))

    @property
    def idle_limit(self) -> float:
        """How many seconds its session may be idle in a transaction: an `async def` handler is cancelled before."""
        return self.timeout + _CANCELLING if self.asynchronous else self.timeout

    def workspace(
        self, connection: psycopg.Connection[Any], *, interrupted: Callable[[], bool] = lambda: False
    ) -> OwnTransaction:
        """Return the workspace that its handlers need; `interrupted` is the request to stop."""
        return OwnTransaction(
            connection,
            with_sqlalchemy=self.needs_sqlalchemy,
            async_timeout=self.timeout if self.asynchronous else None,
            interrupted=interrupted,
        )

    def reads(self, stream: str) -> bool:
        """Whether a stream is of its categories; a message without a version is of none, and read."""
        return not self.categories or stream.partition("-")[0] in self.categories or is_message(stream)

    def declared(self, connection: psycopg.Connection[Any]) -> DeclaredProjection:
        """Return what the database is to remember of it; its tables by the names that they have there."""
        tables = [table.place for table in find_tables(connection, self.tables)]
        named = (self.name, self.kind, self.catalog.name)
        policies = msgspec.json.encode(self.policies()).decode()
        return DeclaredProjection(*named, tables, list(self.categories), self.version, self.acts, policies)

    def check(self, connection: psycopg.Connection[Any]) -> None:
        """Raise ProjectionError where the database lacks what the projection needs."""

    def apply(self, workspace: OwnTransaction, shadow: str | None, steps: Sequence[Step]) -> None:
        """Apply events in the workspace's open transaction; each stream's come in order.

        `shadow` is the PostgreSQL schema that a rebuild's tables are in.
        """
        raise NotImplementedError

    def reading(self, source: Source, transport: Transport, connect: Callable[[], psycopg.Connection[Any]]) -> Source:
        """Return what the projector reads instead of a source from this transport; `connect` gives it a connection."""
        del transport, connect
        return source
