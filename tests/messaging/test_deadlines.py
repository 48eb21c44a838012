"""Deadlines are set and cancelled with the caller's own rows, on any connection that the caller has."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from eventkit.errors import InvalidEvent, UnknownEventType, UnsupportedConnection
from eventkit.messaging.deadlines import Deadlines
from tests.messaging.shop import OrderPlaced, PaymentOverdue, committed, deadlines, order, rows, store, waiting

DAYS = timedelta(days=3)
OVERDUE = PaymentOverdue("1")


def sqlalchemy_url(url: str) -> str:
    """Return the URL as SQLAlchemy wants it."""
    return url.replace("postgresql://", "postgresql+psycopg://")


def test_a_deadline_is_set_with_the_callers_transaction_or_not_at_all(database_url: str) -> None:
    """A rollback takes it back."""
    for end in ("rollback", "commit"):
        with psycopg.connect(database_url) as connection:
            deadlines.set(connection, order(end), OVERDUE, DAYS)
            getattr(connection, end)()

    assert waiting(database_url) == [("order-commit", "PaymentOverdue")]


def test_a_cancellation_belongs_to_the_callers_transaction(database_url: str) -> None:
    """Rolled back, the deadline is still there."""
    committed(database_url, lambda connection: deadlines.set(connection, order(1), OVERDUE, DAYS))
    for end, left in (("rollback", 1), ("commit", 0)):
        with psycopg.connect(database_url) as connection:
            assert deadlines.cancel(connection, order(1), PaymentOverdue)
            getattr(connection, end)()

        assert len(waiting(database_url)) == left


def test_cancel_says_whether_it_came_in_time(database_url: str) -> None:
    """A deadline that was never set, or is cancelled already, is False."""
    with psycopg.connect(database_url) as connection:
        deadlines.set(connection, order(1), OVERDUE, DAYS)

        assert deadlines.cancel(connection, order(1), PaymentOverdue)
        assert not deadlines.cancel(connection, order(1), PaymentOverdue)


def test_a_deadline_set_again_is_moved(database_url: str) -> None:
    """One name of one stream is one deadline, with the event that was given last."""
    with psycopg.connect(database_url) as connection:
        deadlines.set(connection, order(1), OVERDUE, DAYS)
        due = deadlines.set(connection, order(1), PaymentOverdue("other"), DAYS * 2)

    found = rows(database_url, "select due_at, due_at - set_at > '5 days', data->>'order' from eventkit.timers")
    assert found == [(due, True, "other")]


def test_a_stream_may_have_several_deadlines_of_one_type(database_url: str) -> None:
    """Each has a name of its own."""
    with psycopg.connect(database_url) as connection:
        deadlines.set(connection, order(1), OVERDUE, DAYS, name="first reminder")
        deadlines.set(connection, order(1), OVERDUE, DAYS, name="second reminder")

        assert deadlines.cancel(connection, order(1), "first reminder")

    assert waiting(database_url) == [("order-1", "second reminder")]


def test_a_deadline_follows_its_cause(database_url: str) -> None:
    """By a store that is bound to the handled event."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, order(1), OrderPlaced("1"))
        [cause] = store.read_stream(connection, order(1))
        Deadlines(store.following(cause)).set(connection, order(1), OVERDUE, DAYS)

    assert rows(database_url, "select metadata->>'causation_id' from eventkit.timers") == [(str(cause.id),)]


def test_sessions_of_sqlalchemy_are_taken(database_url: str) -> None:
    """Synchronous and asynchronous."""
    engine = sqlalchemy.create_engine(sqlalchemy_url(database_url))
    with Session(engine) as session:
        deadlines.set(session, order(1), OVERDUE, DAYS)
        assert deadlines.cancel(session, order(1), PaymentOverdue)
        session.commit()
    engine.dispose()
    asyncio.run(_set_asynchronously(database_url))

    assert waiting(database_url) == [("order-2", "PaymentOverdue")]


async def _set_asynchronously(url: str) -> None:
    engine = create_async_engine(sqlalchemy_url(url))
    async with AsyncSession(engine) as session:
        await deadlines.set_async(session, order(2), OVERDUE, DAYS)
        await deadlines.set_async(session, order(3), OVERDUE, DAYS)
        assert await deadlines.cancel_async(session, order(3), PaymentOverdue)
        with pytest.raises(UnsupportedConnection, match=r"await Deadlines\.set_async"):
            deadlines.set(session, order(2), OVERDUE, DAYS)  # type: ignore[arg-type]
        await session.commit()
    await engine.dispose()


@pytest.mark.parametrize(
    ("due", "name", "sentence"),
    [
        (datetime(2026, 1, 1), None, "no time zone"),  # noqa: DTZ001 the point
        (timedelta(days=400_000), None, "below 1,000 years"),
        (3, None, "3 is neither a time nor a timedelta"),
        (DAYS, "9 lives", "beginning with a letter"),
        (datetime(2026, 1, 1, tzinfo=UTC), "a\0b", "beginning with a letter"),
    ],
)
def test_an_invalid_deadline_is_refused(database_url: str, due: object, name: str | None, sentence: str) -> None:
    """Before anything is written."""
    with psycopg.connect(database_url) as connection, pytest.raises(InvalidEvent, match=sentence):
        deadlines.set(connection, order(1), OVERDUE, due, name=name)  # type: ignore[arg-type]

    assert waiting(database_url) == []


def test_a_deadline_of_an_unknown_type_is_refused(database_url: str) -> None:
    """Both to set and to cancel."""
    with psycopg.connect(database_url) as connection:
        with pytest.raises(UnknownEventType):
            deadlines.set(connection, order(1), object(), DAYS)
        with pytest.raises(UnknownEventType):
            deadlines.cancel(connection, order(1), object)
