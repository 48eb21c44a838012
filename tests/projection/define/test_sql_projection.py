"""SQL projections: statements of one's own, in the transaction of the checkpoints."""

from contextlib import suppress

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from eventkit.domain.envelope import Envelope
from eventkit.projection.define.sql import SqlProjection
from eventkit.projection.retry_policy import Backoff
from tests.projection.define.async_twin import make_twins
from tests.projection.shop import Left, Noted, Ordered, apply, checkpoints, letters, message, orders, rows, shop

UPSERT = text(
    "insert into totals values (:c, 1, :a) on conflict (customer)"
    " do update set orders = totals.orders + 1, amount = totals.amount + :a"
)


@pytest.fixture(autouse=True, params=["plain", "async def"])
def _handlers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test holds for plain handlers and for `async def` ones."""
    if request.param == "async def":
        make_twins(monkeypatch)
    monkeypatch.setattr(Backoff, "pause", lambda _, attempt: 0.001 * attempt)


def sums() -> SqlProjection:
    """Return the totals in statements."""
    projection = SqlProjection("sums", shop)

    @projection.on(Ordered)
    def ordered(connection: Connection, event: Ordered) -> None:
        connection.execute(UPSERT, {"c": event.customer, "a": event.amount})
        if event.amount < 0:
            raise ValueError("no")

    @projection.on(Left)
    def left(connection: Connection, event: Left, envelope: Envelope[Left]) -> None:
        assert envelope.event == event
        connection.execute(text("delete from totals where customer = :c"), {"c": event.customer})

    return projection


def test_each_event_runs_its_statements_once(url: str) -> None:
    """Under redelivery too."""
    batch = [*orders("order-1", 3), message("order-2", 1, Left("bob")), message("order-2", 2, Noted())]

    apply(url, batch, batch, projection=sums())

    assert rows(url) == [("ann", 3, 3)]


def test_a_failing_statement_parks_only_its_stream_and_leaves_nothing(url: str) -> None:
    """Statements of the handler before the failure are rolled back."""
    apply(url, [*orders("order-1", 3), message("order-2", 1, Ordered("eve", -1))], projection=sums())

    assert rows(url) == [("ann", 3, 3)]
    assert letters(url) == [("order-2", 1, "failed")]


def test_a_handler_may_take_a_run_of_events_of_its_type(url: str) -> None:
    """One statement for many events."""
    runs: list[int] = []
    projection = SqlProjection("sums", shop)

    @projection.on_batch(Ordered)
    def ordered(connection: Connection, envelopes: list[Envelope[Ordered]]) -> None:
        runs.append(len(envelopes))
        connection.execute(UPSERT, [{"c": e.event.customer, "a": e.event.amount} for e in envelopes])

    apply(url, orders("order-1", 100), projection=projection)

    assert runs == [100]
    assert rows(url) == [("ann", 100, 100)]


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_handler_cannot_end_the_transaction(url: str, ending: str) -> None:
    """Its effects and its checkpoint would part."""
    projection = SqlProjection("sums", shop)

    @projection.on(Ordered)
    def ordered(connection: Connection, event: Ordered) -> None:
        connection.execute(UPSERT, {"c": event.customer, "a": event.amount})
        getattr(connection, ending)()

    apply(url, orders("order-1", 2), projection=projection)

    assert rows(url) == []
    assert letters(url) == [("order-1", 1, "failed"), ("order-1", 2, "behind")]
    assert checkpoints(url) == {"order-1": (0, True)}


def test_a_handler_may_use_savepoints(url: str) -> None:
    """Parts of it may be rolled back."""
    projection = SqlProjection("sums", shop)

    @projection.on(Ordered)
    def ordered(connection: Connection, event: Ordered) -> None:
        with connection.begin_nested() as nested:
            connection.execute(UPSERT, {"c": "lost", "a": event.amount})
            nested.rollback()
        connection.execute(UPSERT, {"c": event.customer, "a": event.amount})

    apply(url, orders("order-1", 2), projection=projection)

    assert rows(url) == [("ann", 2, 2)]


def test_a_handler_that_swallows_a_database_error_does_not_half_succeed(url: str) -> None:
    """PostgreSQL has aborted the transaction: the event fails."""
    projection = SqlProjection("sums", shop)

    @projection.on(Ordered)
    def ordered(connection: Connection, event: Ordered) -> None:
        connection.execute(UPSERT, {"c": event.customer, "a": event.amount})
        with suppress(DBAPIError):  # the careless handler that this test is about
            connection.execute(text("select 1/0"))

    apply(url, orders("order-1", 1), projection=projection)

    assert rows(url) == []
    assert letters(url) == [("order-1", 1, "failed")]
