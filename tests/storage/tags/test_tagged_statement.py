"""An append with tags is one statement, for one event or several; for one event PostgreSQL plans it once."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from eventkit.errors import ConcurrencyError, DecisionChanged
from eventkit.storage.events.append import ANY, NO_STREAM, Expected
from eventkit.storage.events.event_store import Decision, QueryItem
from tests.storage.tags.courses import CourseDefined, store

Connection = psycopg.Connection[Any]
STREAM = "course-1"
PLANS = "select generic_plans, custom_plans from pg_prepared_statements where statement like '%insert%.events %'"
WRITTEN = """select e.version, array(select tag from eventkit.event_tags t where t.position = e.position order by tag),
       exists (select from eventkit.outbox o where o.position = e.position)
  from eventkit.events e where e.stream = 'course-1' order by e.position"""


def _undecided(_: Connection) -> None:
    return None


def _decided(connection: Connection) -> Decision:
    return store.query(connection, QueryItem(tags=["course:other"]))


@pytest.mark.parametrize("decide", [_undecided, _decided])
@pytest.mark.parametrize("count", [1, 2])
def test_each_expectation_holds_for_tagged_events(
    database_url: str, count: int, decide: Callable[[Connection], Decision | None]
) -> None:
    """Each event has its tags and its outbox row; a stream that is not as expected gets nothing."""
    events = [CourseDefined(f"c{number}") for number in range(count)]
    refused: list[Expected | int] = [NO_STREAM, count + 1]

    with psycopg.connect(database_url) as connection:
        for expected in (NO_STREAM, count, ANY):
            store.append(
                connection, STREAM, *events, expected=expected, tags=["all"], unless_changed=decide(connection)
            )
        for expected in refused:
            with pytest.raises(ConcurrencyError) as raised:
                store.append(connection, STREAM, *events, expected=expected, unless_changed=decide(connection))
            assert raised.value.actual == 3 * count
        found = connection.execute(WRITTEN).fetchall()

    tags = [["all", f"course:{event.course}"] for event in events] * 3
    assert found == [(version, tag, True) for version, tag in enumerate(tags, 1)]


@pytest.mark.parametrize("expected", [ANY, NO_STREAM, 1])
@pytest.mark.parametrize("count", [1, 2])
def test_a_decision_that_changed_refuses_each_expectation(
    database_url: str, count: int, expected: Expected | int
) -> None:
    """A newer event that matches refuses the append, whatever is expected of the stream."""
    with psycopg.connect(database_url) as connection:
        if expected == 1:
            store.append(connection, STREAM, CourseDefined("first"))
        decision = _decided(connection)
        store.append(connection, "course-2", CourseDefined("other"))

        with pytest.raises(DecisionChanged):
            store.append(connection, STREAM, *[CourseDefined("c")] * count, expected=expected, unless_changed=decision)

        assert len(connection.execute(WRITTEN).fetchall()) == (expected == 1)


@pytest.mark.parametrize("tags", [[], ["one"], ["one", "two", "three"]])
def test_the_statement_for_one_event_is_planned_once(database_url: str, tags: list[str]) -> None:
    """The number of tags does not change the plan: planning would take longer than the append."""
    with psycopg.connect(database_url) as connection:
        for number in range(20):
            store.append(connection, STREAM, CourseDefined(f"c{number}"), tags=tags)
        ((generic, custom),) = connection.execute(PLANS).fetchall()

    assert generic > custom
