"""An error of the deployment parks nothing: it stops its projection with one sentence, until the repair."""

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors

from eventkit.errors import EventkitError
from eventkit.projection.define.sql import SqlProjection
from eventkit.projection.failure.error_class import ErrorClass, classify_error
from tests.projection.shop import Ordered, apply, letters, orders, rows, shop

STATES = sorted(name for name in errors._sqlcodes if len(name) == 5)
OF_EVENTS = ("22", "23", "P0")  # data, constraints, and errors raised by the service's own SQL functions


@pytest.mark.parametrize("ours", [True, False], ids=["in the batch's transaction", "on a handler's own connection"])
def test_only_errors_about_the_events_data_are_the_events(*, ours: bool) -> None:
    """All states that the driver knows: classes 22 and 23, and P0 (`raise`), park; no other does."""
    guilty = {
        state
        for state in STATES
        if classify_error(errors.lookup(state)("no"), own_transaction=ours) is ErrorClass.EVENT
    }

    assert guilty == {state for state in STATES if state.startswith(OF_EVENTS)}
    assert len(STATES) > 200


@pytest.mark.parametrize("state", ["42703", "42804", "42883", "42P10", "42501", "55000", "53400", "54000", "57014"])
def test_an_error_that_lasts_stops_the_projection_and_says_why(url: str, state: str) -> None:
    """No stream is parked, however many fail; the sentence has PostgreSQL's words and its code."""
    _refuse(url, state)

    with pytest.raises(EventkitError, match=f"no such luck .*{state}"):
        apply(url, [*orders("order-1", 2), *orders("order-2", 2)])

    assert letters(url) == []


def test_it_continues_where_it_was_after_the_repair(url: str) -> None:
    """Nothing was lost, nothing is applied twice."""
    _refuse(url, "42703")
    with pytest.raises(EventkitError):
        apply(url, orders("order-1", 3))
    with psycopg.connect(url) as connection:
        connection.execute("drop trigger refuse on totals")

    apply(url, orders("order-1", 3))

    assert rows(url) == [("ann", 3, 3)]


def test_a_raise_in_the_services_own_trigger_is_the_events(url: str) -> None:
    """The service's own code refuses this event: others are applied."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "create function refuse() returns trigger language plpgsql as $$ begin"
            " if new.customer = 'eve' then raise exception 'not her'; end if; return new; end $$;"
            "create trigger refuse before insert or update on totals for each row execute function refuse()"
        )

    apply(url, [*orders("order-1", 2), *orders("order-2", 2, customer="eve")])

    assert rows(url) == [("ann", 2, 2)]
    assert letters(url) == [("order-2", 1, "failed"), ("order-2", 2, "behind")]


def test_a_constraint_that_is_checked_at_the_commit_parks_the_stream_that_breaks_it(url: str) -> None:
    """A deferred constraint fails long after the handler; halving the batch finds the stream."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "create table known (customer text primary key); insert into known values ('ann');"
            "alter table totals add foreign key (customer) references known deferrable initially deferred"
        )

    apply(url, [*orders("order-1", 2), *orders("order-2", 2, customer="eve"), *orders("order-3", 1)])

    assert rows(url) == [("ann", 3, 3)]
    assert letters(url) == [("order-2", 1, "failed"), ("order-2", 2, "behind")]


@pytest.mark.parametrize("kind", ["as it is", "wrapped", "swallowed", "in a savepoint"])
def test_a_statement_that_the_table_does_not_fit_parks_nothing_however_it_is_raised(url: str, kind: str) -> None:
    """Whether a handler wraps it, drops it, or has a savepoint around it."""
    projection = SqlProjection("totals", shop)

    @projection.on(Ordered)
    def ordered(connection: sa.Connection, event: Ordered) -> None:
        del event
        try:
            if kind == "in a savepoint":
                with connection.begin_nested():
                    connection.exec_driver_sql("update totals set nothing_there = 1")
            connection.exec_driver_sql("update totals set nothing_there = 1")
        except sa.exc.ProgrammingError as error:
            if kind == "wrapped":
                raise RuntimeError("it did not work") from error
            if kind != "swallowed":
                raise

    with pytest.raises(EventkitError, match="nothing_there"):
        apply(url, orders("order-1", 1), projection=projection)

    assert letters(url) == []


def test_an_error_raised_on_purpose_after_a_database_error_is_the_events(url: str) -> None:
    """It has dealt with the error in a savepoint, and says something of its own."""
    projection = SqlProjection("totals", shop)

    @projection.on(Ordered)
    def ordered(connection: sa.Connection, event: Ordered) -> None:
        try:
            with connection.begin_nested():
                connection.exec_driver_sql("select 1 from nowhere")
        except sa.exc.ProgrammingError:
            raise LookupError(event.customer) from None

    apply(url, orders("order-1", 1), projection=projection)

    assert letters(url) == [("order-1", 1, "failed")]


def _refuse(url: str, state: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "create function refuse() returns trigger language plpgsql as"
            f" $$ begin raise exception 'no such luck' using errcode = '{state}'; end $$;"
            "create trigger refuse before insert or update on totals for each row execute function refuse()"
        )
