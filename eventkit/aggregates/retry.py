"""Run a whole unit of work again after a conflict: a new transaction, a fresh state, a new decision.

    retry_on_conflict(Session.begin, lambda session: pay(session, "42"))

`begin` opens a transaction that ends with its block: `begin` of a sessionmaker or an engine, `connection` of a psycopg
pool. The errors that are retried are ConcurrencyError, a serialization failure (40001) and a deadlock (40P01), also at
the commit. A lost connection is not retried, because the commit may have taken place. Effects of the function outside
the database happen once for each attempt.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TypeVar

from psycopg import errors

from eventkit.domain.functions import name_of, refusal
from eventkit.errors import AggregateError, AppendDeadlock, ConcurrencyError, DatabaseUnavailable
from eventkit.storage.db import psycopg_error

T = TypeVar("T")
C = TypeVar("C")
ATTEMPTS = 5
_FIRST_PAUSE, _MAX_PAUSE = 0.01, 1.0  # seconds; a random part of them is waited, to separate competing writers


def retry_on_conflict(
    begin: Callable[[], AbstractContextManager[C]], work: Callable[[C], T], *, attempts: int = ATTEMPTS
) -> T:
    """Return the result of `work` in the first transaction that commits; raise the last conflict after `attempts`."""
    if (wrong := refusal(work)) and not isinstance(work, type):
        raise AggregateError(f"{name_of(work)} {wrong}, or call retry_on_conflict_async")
    for pause in _pauses(attempts):
        try:
            with begin() as connection:
                return work(connection)
        except Exception as error:
            if pause is None or not is_conflict(error):
                raise
        time.sleep(pause)
    raise AssertionError  # the last pause is None


async def retry_on_conflict_async(
    begin: Callable[[], AbstractAsyncContextManager[C]], work: Callable[[C], Awaitable[T]], *, attempts: int = ATTEMPTS
) -> T:
    """Do the same as `retry_on_conflict`, for asynchronous transactions and functions."""
    for pause in _pauses(attempts):
        try:
            async with begin() as connection:
                return await work(connection)
        except Exception as error:
            if pause is None or not is_conflict(error):
                raise
        await asyncio.sleep(pause)
    raise AssertionError  # the last pause is None


def is_conflict(error: BaseException) -> bool:
    """Return whether an error is a conflict with another transaction, so that the same work may succeed next time."""
    if isinstance(error, DatabaseUnavailable) and error.__cause__ is not None:
        return is_conflict(error.__cause__)  # a read that PostgreSQL could not serialize
    cause = psycopg_error(error) or error
    return isinstance(cause, ConcurrencyError | AppendDeadlock | errors.SerializationFailure | errors.DeadlockDetected)


def _pauses(attempts: int) -> Iterator[float | None]:
    """Yield the seconds to wait after each attempt; None after the last."""
    if attempts < 1:
        raise ValueError(f"attempts={attempts}: give at least 1")
    for nth in range(attempts - 1):
        yield random.uniform(0, min(_MAX_PAUSE, _FIRST_PAUSE * 2**nth))  # noqa: S311 no secret
    yield None
