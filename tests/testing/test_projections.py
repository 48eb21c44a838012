"""Scenarios of read models and handlers, on the plugin's own fixtures."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, select

from eventkit import Envelope, EventStore, SqlProjection
from eventkit.domain.master_keys import MasterKeys
from eventkit.errors import ConfigurationError
from eventkit.messaging.deadlines import Deadlines
from eventkit.messaging.handlers import Handlers
from eventkit.testing import at, given
from tests.storage.people import ADA, ORDERED, REDACTED, REDACTED_ORDER, REGISTERED, Registered, crm
from tests.testing.shop import Charge, Ordered, Overdue, handlers, log, log_table, store, tables, totals


def test_a_table_projection_is_tested_by_its_rows(eventkit_database: str) -> None:
    """In any order, and only in the columns that the test names; server defaults and types are PostgreSQL's."""
    (
        given(totals, Ordered("bob"), at("order-7", Ordered("ada", 2)), database=eventkit_database)
        .when(at("order-7", Ordered("ada", 3)))
        .then({"customer": "ada", "amount": 5}, {"customer": "bob", "amount": 1})
        .then({"customer": "ada", "last": "order-7 2"}, {"customer": "bob", "last": "given-1 1"})
    )


def test_another_row_is_shown_beside_the_expected_one(eventkit_database: str) -> None:
    """With the events that led there."""
    scenario = given(totals, at("order-7", Ordered("ada", 2)), database=eventkit_database)

    with pytest.raises(AssertionError) as caught:
        scenario.then({"customer": "ada", "amount": 3})

    lines = str(caught.value).splitlines()
    assert lines[1:4] == ["given totals", "    order-7:", "    Ordered(customer='ada', amount=2)"]
    assert lines[-1].split("|") == [
        "  {'customer': 'ada', 'amount': 3}                       ",
        " {'customer': 'ada', 'amount': 2}",
    ]


def test_no_rows_can_be_expected(eventkit_database: str) -> None:
    """`then()` without rows says that there is none."""
    given(totals, Charge(1), database=eventkit_database).then()
    with pytest.raises(AssertionError, match=r"\(nothing\)"):
        given(totals, Ordered("ada"), database=eventkit_database).then()


def test_a_sql_projection_says_where_to_look(eventkit_database: str, eventkit_engine: Engine) -> None:
    """A table or a query; its tables are the test's affair."""
    tables.create_all(eventkit_engine)

    scenario = given(log, Ordered("ada"), Ordered("bob"), database=eventkit_database)

    scenario.then({"customer": "ada"}, {"customer": "bob"}, of=log_table)
    scenario.then({"customer": "bob"}, of=select(log_table).where(log_table.c.customer == "bob"))
    with pytest.raises(ConfigurationError, match="name one"):
        scenario.then()


def test_a_failing_handler_raises_at_once(eventkit_database: str) -> None:
    """In `when` it can be expected; nothing of it is left. In `given` it is the test's own mistake."""
    scenario = given(totals, Ordered("ada"), database=eventkit_database).when(Ordered("ada", -1))

    scenario.then_raises(ValueError, "-1")
    with pytest.raises(AssertionError, match="it raised\n    ValueError") as caught:
        scenario.then()
    with pytest.raises(ValueError, match="-1"):
        given(totals, Ordered("ada", -1), database=eventkit_database)

    assert isinstance(caught.value.__cause__, ValueError)


def test_handlers_are_tested_by_their_appended_events(eventkit_database: str) -> None:
    """Only by the events they append at `when`; with their streams, where the test names them."""
    scenario = given(handlers, at("order-1", Ordered("ada", 5)), database=eventkit_database)

    scenario.then_nothing().when(at("order-2", Ordered("bob", 6)))

    scenario.then_appended(Charge(6)).then_appended(at("charge-2", Charge(6)))
    with pytest.raises(AssertionError, match=r"the appended events differ:(.|\n)*'charge-1'.*\|.*'charge-2'"):
        scenario.then_appended(at("charge-1", Charge(6)))


def test_earlier_events_of_the_store_are_no_part_of_it(eventkit_database: str, eventkit_engine: Engine) -> None:
    """A test may append events of its own first."""
    with eventkit_engine.begin() as connection:
        store.append(connection, "order-9", Ordered("eve"))

    given(handlers, database=eventkit_database).when(Ordered("ada")).then_appended(Charge(1))


def test_time_passes_and_deadlines_fire(eventkit_database: str) -> None:
    """Those that are due by then, for real: their events are appended, and the handlers are given them."""
    scenario = given(handlers, at("order-1", Ordered("ada")), database=eventkit_database)
    scenario.then_deadlines(at("order-1", Overdue("ada")))

    scenario.when_due(timedelta(days=2)).then_nothing().then_deadlines(Overdue("ada"))
    scenario.when_due(timedelta(days=3)).then_appended(at("charge-1", Charge(100))).then_deadlines()


def test_an_event_has_the_time_and_the_metadata_that_the_test_says(eventkit_database: str) -> None:
    """`at` takes both."""
    seen: list[Envelope[Ordered]] = []
    noted = SqlProjection("noted", log.catalog)

    @noted.on(Ordered)
    def note(_c: object, _e: object, envelope: Envelope[Ordered]) -> None:
        seen.append(envelope)

    year = datetime(2013, 1, 1, tzinfo=UTC)
    given(noted, at("order-1", Ordered("ada"), metadata={"by": "x"}, time=year), database=eventkit_database)

    assert [(e.recorded_at, e.metadata.extra["by"], e.stream) for e in seen] == [(year, "x", "order-1")]


def test_a_projection_without_a_database_is_refused() -> None:
    """The error names the fixture."""
    with pytest.raises(ConfigurationError, match="database=eventkit_database"):
        given(totals, Ordered("ada"))  # type: ignore[call-overload]


def test_personal_data_of_appended_events_is_seen_with_the_keys(
    eventkit_database: str, eventkit_master_keys: MasterKeys
) -> None:
    """Handlers get plain text, their events and deadlines are sealed; without keys, they get redacted values."""
    people, kept = Handlers("people", crm), EventStore(crm, master_keys=eventkit_master_keys)

    @people.on(Registered)
    def registered(connection: Connection, event: Registered, envelope: Envelope[Registered]) -> None:
        kept.append(connection, crm.stream("order", 1), ORDERED)
        Deadlines(kept).set(connection, envelope.stream, event, timedelta(days=1))

    scenario = given(people, database=eventkit_database, master_keys=eventkit_master_keys)
    scenario.when(at(ADA, REGISTERED)).then_appended(at("order-1", ORDERED)).then_deadlines(at(ADA, REGISTERED))

    redacted = given(people, at(ADA, REGISTERED), database=eventkit_database)
    redacted.when(at(ADA, REGISTERED)).then_appended(at("order-1", REDACTED_ORDER)).then_deadlines(at(ADA, REDACTED))
    scenario.when_due(timedelta(days=2)).then_appended(at("order-1", ORDERED))
