"""Retry policies as they are declared: a contradiction is refused with a sentence, the nearest class counts."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from eventkit import Backoff, EventStore, Handlers, ProcessManager, Responder, Retry, SqlProjection, TableProjection
from eventkit.errors import NewerSchema, ProjectionError, TryLater, UndecodableEvent
from tests.projection.shop import TOTALS, Ordered, shop

REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: Retry(attempts=0), "attempts=0"),
    (lambda: Retry(attempts=-1), "attempts=-1"),
    (lambda: Retry(attempts=True), "attempts=True"),
    (lambda: Retry(attempts=2.5), "attempts=2.5"),  # type: ignore[arg-type]
    (lambda: Retry(attempts=1_001), "1 to 1,000"),
    (lambda: Retry(opens_after=0), "opens_after=0"),
    (lambda: Retry(backoff=5), "write backoff=Backoff"),  # type: ignore[arg-type]
    (lambda: Retry(probes=None), "write probes=Backoff"),  # type: ignore[arg-type]
    (lambda: Backoff(first=-1), "first=-1"),
    (lambda: Backoff(first=float("nan")), "first=nan"),
    (lambda: Backoff(first=10, most=5), "first <= most"),
    (lambda: Backoff(most=float("inf")), "most=inf"),
    (lambda: Backoff(factor=0.5), "factor=0.5"),
    (lambda: Backoff(jitter=1.5), "jitter=1.5"),
    (lambda: Backoff(first="1"), "must be a number"),  # type: ignore[arg-type]
    (lambda: Retry(wait_for=ConnectionError), "tuple of classes"),  # type: ignore[arg-type]
    (lambda: Retry(wait_for=("OSError",)), "no class of exceptions"),  # type: ignore[arg-type]
    (lambda: Retry(wait_for=(OSError(),)), "no class of exceptions"),  # type: ignore[arg-type]
    (lambda: Retry(park_on=(int,)), "no class of exceptions"),  # type: ignore[arg-type]
    (lambda: Retry(park_on=(KeyboardInterrupt,)), "no class of exceptions"),  # type: ignore[arg-type]
    (lambda: Retry(wait_for=(KeyError,), park_on=(KeyError,)), "it can only be one"),
    *[
        (lambda kind=kind: Retry(wait_for=(kind,)), "speaks of the event's own data")
        for kind in (
            Exception,
            psycopg.Error,
            psycopg.DataError,
            psycopg.errors.UniqueViolation,
            psycopg.errors.NumericValueOutOfRange,
            psycopg.errors.RaiseException,
            sa.exc.SQLAlchemyError,
            sa.exc.IntegrityError,
            UndecodableEvent,
            NewerSchema,
        )
    ],
    (lambda: Retry(park_on=(TryLater,)), "cannot park"),
    *[
        (lambda kind=kind: Retry(park_on=(kind,)), "says nothing of the event")
        for kind in (psycopg.OperationalError, psycopg.errors.UndefinedColumn, sa.exc.ProgrammingError)
    ],
    (lambda: SqlProjection("p", shop, retry=3), "write retry=Retry"),  # type: ignore[arg-type]
    (lambda: SqlProjection("p", shop, timeout=0), "timeout=0"),
    (lambda: Handlers("p", shop, timeout=90_000), "timeout=90000"),
    (lambda: Handlers("p", shop).on(Ordered, timeout=-1), "handler of Ordered in projection 'p': timeout=-1"),
    (lambda: Handlers("p", shop).on(Ordered, retry=Backoff()), "handler of Ordered in projection 'p'"),  # type: ignore[arg-type]
    (lambda: TableProjection("p", shop, table=TOTALS, key="customer", retry=1), "retry=1"),  # type: ignore[arg-type]
    (lambda: ProcessManager("p", EventStore(shop), table=TOTALS, key="customer", retry=1), "retry=1"),  # type: ignore[arg-type]
    (lambda: Responder("p", EventStore(shop), categories=["x"], retry=1), "retry=1"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("declare", "why"), REFUSED, ids=[f"{place}: {why}" for place, (_, why) in enumerate(REFUSED)])
def test_a_policy_that_makes_no_sense_is_refused_when_it_is_declared(declare: Callable[[], object], why: str) -> None:
    """The sentence has the value in it."""
    with pytest.raises(ProjectionError) as refused:
        declare()

    assert why in str(refused.value)


def _from(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


class Rates(Exception):
    """Of a client whose errors derive from none of Python's."""


class RatesSlow(Rates):
    """One of them."""


POLICY = Retry(wait_for=(Rates, ConnectionError, sa.exc.OperationalError), park_on=(FileNotFoundError, RatesSlow))


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (Rates(), True),
        (RatesSlow(), False),
        (FileNotFoundError(), False),
        (ConnectionResetError(), True),
        (OSError(), None),
        (TimeoutError(), None),
        (ValueError(), None),
        (_from(ValueError(), Rates()), True),
        (_from(Rates(), FileNotFoundError()), True),
        (_from(OSError(), RatesSlow()), False),
        (ExceptionGroup("", [Rates(), Rates()]), True),
        (ExceptionGroup("", [Rates(), FileNotFoundError()]), False),
        (ExceptionGroup("", [Rates(), ValueError()]), None),
    ],
    ids=repr,
)
def test_the_nearest_class_counts_and_so_does_the_cause_of_an_error(error: Exception, waits: bool | None) -> None:  # noqa: FBT001
    """As in `except`; the order in the policy does not matter."""
    assert POLICY.waits_for(error) is waits


def test_an_error_that_is_its_own_cause_is_judged() -> None:
    """A library may raise the same error again, from itself."""
    first = ValueError()

    assert POLICY.waits_for(_from(first, _from(KeyError(), first))) is None


@pytest.mark.parametrize("attempt", [1, 2, 3, 10, 100_000])
def test_a_pause_grows_up_to_a_limit_and_is_left_to_chance_in_part(attempt: int) -> None:
    """For any number of attempts."""
    backoff = Backoff(first=0.5, factor=10, most=60, jitter=0.2)
    whole = min(0.5 * 10 ** min(attempt - 1, 10), 60)

    assert all(0.8 * whole <= backoff.pause(attempt) <= whole for _ in range(100))


def nothing(connection: sa.Connection, event: Ordered) -> None:
    """Handle an event."""
    del connection, event


def test_a_handler_has_its_own_policy_or_that_of_its_projection() -> None:
    """Also the time that it may take."""
    work = Handlers("work", shop, retry=Retry(attempts=9), timeout=5)
    work.on(Ordered, retry=Retry(attempts=2), timeout=7)(nothing)
    other: Any = SqlProjection("other", shop, retry=Retry(attempts=4))
    other.on(Ordered)(nothing)

    assert [(handler.retry.attempts, handler.policy.timeout) for handler in work.handlers] == [(2, 7.0)]
    assert [(handler.retry.attempts, handler.policy.timeout) for handler in other.handlers] == [(4, None)]
    assert work.policies()["handlers"][0]["timeout"] == 7.0
    assert work.policies()["default"]["attempts"] == 3
    assert Responder("desk", EventStore(shop), categories=["x"]).policies()["default"]["attempts"] == 1
