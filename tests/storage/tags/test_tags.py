"""Tags and decisions: an append that happens only if nothing that it was decided by has come since."""

import threading
from collections.abc import Callable
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from eventkit.errors import CatalogError, ConcurrencyError, DecisionChanged, InvalidEvent
from eventkit.storage.events.event_store import NO_STREAM, Append, QueryItem
from tests.storage.shop import check_tables, sqlalchemy_url
from tests.storage.tags.courses import (
    CourseDefined,
    Subscribed,
    Unsubscribed,
    courses_of,
    enrol,
    school,
    seats_of,
    store,
)
from tests.waiting import wait_until

PLACE = school.stream("subscription", 1)
ELSEWHERE = school.stream("subscription", 2)


@pytest.mark.both_postgres
def test_a_query_returns_the_events_of_any_item_that_have_all_its_tags_and_one_of_its_types(database_url: str) -> None:
    """Items are alternatives; the tags of one item are demands."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, school.stream("course", "c1"), CourseDefined("c1"))
        enrol(connection, ("c1", "s1"), ("c1", "s2"), ("c2", "s1"))
        store.append(connection, PLACE, Unsubscribed("c1", "s1"))

        of_course = store.query(connection, QueryItem(["course:c1"]))
        of_type = store.query(connection, QueryItem(["course:c1"], types=[CourseDefined]))
        of_both = store.query(connection, QueryItem(["course:c1", "student:s1"]))
        of_either = store.query(connection, courses_of("s2"), QueryItem(["course:c2"]))
        of_nothing = store.query(connection, QueryItem(["course:none"]))

    assert [type(one.event).__name__ for one in of_course] == ["CourseDefined", *["Subscribed"] * 2, "Unsubscribed"]
    assert [one.event for one in of_type] == [CourseDefined("c1")]
    assert [one.event for one in of_both] == [Subscribed("c1", "s1"), Unsubscribed("c1", "s1")]
    assert [one.event for one in of_either] == [Subscribed("c1", "s2"), Subscribed("c2", "s1")]
    assert of_nothing.events == ()


@pytest.mark.both_postgres
@pytest.mark.parametrize("stream", [PLACE, ELSEWHERE])
def test_an_event_that_matches_and_has_come_since_is_a_conflict_that_names_it(database_url: str, stream: str) -> None:
    """Nothing is written, the transaction continues, and after another query the decision holds."""
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as other:
        decision = store.query(connection, seats_of("c1"))
        came = store.append(other, stream, Subscribed("c1", "s7"))
        other.commit()

        with pytest.raises(DecisionChanged) as caught:
            store.append(connection, PLACE, Subscribed("c1", "s8"), unless_changed=decision)
        store.append(connection, PLACE, Subscribed("c1", "s9"), unless_changed=store.query(connection, seats_of("c1")))

    error = caught.value
    assert (error.stream, error.actual, error.type) == (stream, 1, "Subscribed")
    assert (error.position, error.event_id) == (came.position, str(came.ids[0]))
    assert isinstance(error, ConcurrencyError)
    assert error.transaction_usable
    with psycopg.connect(database_url) as connection:
        check_tables(connection)
        assert {one.event.student for one in store.query(connection, seats_of("c1"))} == {"s7", "s9"}


@pytest.mark.parametrize("event", [Subscribed("c2", "s2"), CourseDefined("c1")], ids=["another entity", "another type"])
def test_an_event_that_does_not_match_is_no_conflict(database_url: str, event: object) -> None:
    """A decision depends on its query alone."""
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as other:
        decision = store.query(connection, seats_of("c1"), courses_of("s1"))
        store.append(other, ELSEWHERE, event)
        other.commit()

        done = store.append(connection, PLACE, Subscribed("c1", "s1"), unless_changed=decision)

    assert done.version == 1


def test_a_decision_by_two_tags_of_one_item_ignores_an_event_that_has_only_one(database_url: str) -> None:
    """An item's tags are all demanded, at the append too."""
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as other:
        decision = store.query(connection, QueryItem(["course:c1", "student:s1"]))
        enrol(other, ("c1", "s2"), ("c2", "s1"))
        other.commit()
        store.append(connection, PLACE, Subscribed("c1", "s1"), unless_changed=decision)

        with pytest.raises(DecisionChanged):
            store.append(connection, PLACE, Subscribed("c1", "s1"), unless_changed=decision)


def second_of_two(url: str, first: tuple[QueryItem, object], second: tuple[QueryItem, object]) -> list[str]:
    """Decide and append twice, the second time before the first one commits; return the second one's conflicts."""
    outcome: list[str] = []

    def decide() -> None:
        with psycopg.connect(url, application_name="second") as connection:
            try:
                store.append(connection, ELSEWHERE, second[1], unless_changed=store.query(connection, second[0]))
            except DecisionChanged as error:
                outcome.append(error.stream)

    with psycopg.connect(url) as connection, psycopg.connect(url, autocommit=True) as watch:
        store.append(connection, PLACE, first[1], unless_changed=store.query(connection, first[0]))
        thread = threading.Thread(target=decide)
        thread.start()
        waits = "select from pg_stat_activity where application_name = 'second' and wait_event_type = 'Lock'"
        wait_until(lambda: watch.execute(waits).fetchone() is not None or not thread.is_alive())
        connection.commit()
        thread.join()
    return outcome


def test_an_append_waits_for_an_open_one_with_its_tag_and_then_sees_its_event(database_url: str) -> None:
    """The tag's row is the lock: no two appends by one decision both happen."""
    seats = seats_of("c1")

    assert second_of_two(database_url, (seats, Subscribed("c1", "s1")), (seats, Subscribed("c1", "s2"))) == [PLACE]


def test_decisions_that_write_each_others_tags_do_not_both_commit(database_url: str) -> None:
    """A tag that is only depended on is locked as well: there is no write skew."""
    first = QueryItem(["course:b"]), CourseDefined("a")
    second = QueryItem(["course:a"]), CourseDefined("b")

    assert second_of_two(database_url, first, second) == [PLACE]


def test_an_event_that_a_decision_saw_and_a_savepoint_took_back_is_a_conflict(database_url: str) -> None:
    """A decision on an event that never happened does not hold, although nothing newer is there."""
    with psycopg.connect(database_url) as connection:
        connection.execute("savepoint before")
        enrol(connection, ("c1", "s1"))
        decision = store.query(connection, seats_of("c1"))
        connection.execute("rollback to savepoint before")

        with pytest.raises(DecisionChanged, match="rolled back"):
            store.append(connection, PLACE, Subscribed("c1", "s2"), unless_changed=decision)


def test_each_tag_has_a_place_of_its_own(database_url: str) -> None:
    """An event that was open at the query, at a lower position than the last one seen, is found at the append."""
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as slow:
        enrol(slow, ("c1", "s1"), place="open")
        with psycopg.connect(database_url) as quick:
            enrol(quick, ("c2", "s2"), place="later")
        decision = store.query(connection, seats_of("c1"), courses_of("s2"))
        slow.commit()

        with pytest.raises(DecisionChanged) as caught:
            store.append(connection, PLACE, Subscribed("c1", "s2"), unless_changed=decision)

    assert caught.value.stream == "subscription-open"


def test_the_callers_own_events_count(database_url: str) -> None:
    """A second append of the same transaction by the same decision is a conflict."""
    with psycopg.connect(database_url) as connection:
        decision = store.query(connection, seats_of("c1"))
        store.append(connection, PLACE, Subscribed("c1", "s1"), unless_changed=decision)

        with pytest.raises(DecisionChanged):
            store.append(connection, PLACE, Subscribed("c1", "s2"), unless_changed=decision)


@pytest.mark.parametrize("level", ["REPEATABLE_READ", "SERIALIZABLE"])
def test_a_stricter_caller_gets_postgresqls_error(database_url: str, level: str) -> None:
    """Where the snapshot hides new events, the lock of the tag ends the transaction with 40001."""
    with psycopg.connect(database_url) as other:
        enrol(other, ("c1", "s1"))
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as other:
        connection.isolation_level = psycopg.IsolationLevel[level]
        decision = store.query(connection, seats_of("c1"))
        enrol(other, ("c1", "s2"))
        other.commit()

        with pytest.raises(ConcurrencyError) as caught:
            store.append(connection, PLACE, Subscribed("c1", "s3"), unless_changed=decision)

    assert not caught.value.transaction_usable


def test_a_retry_with_ids_is_recognised_before_a_conflict_is_raised(database_url: str) -> None:
    """After an unknown commit the same ids at the same place are a success, in spite of later events."""
    ids = [uuid4()]
    with psycopg.connect(database_url) as connection:
        decision = store.query(connection, seats_of("c1"))
        first = store.append(connection, PLACE, Subscribed("c1", "s1"), ids=ids, unless_changed=decision)
        connection.commit()
        again = store.append(connection, PLACE, Subscribed("c1", "s1"), ids=ids, unless_changed=decision)
        with pytest.raises(DecisionChanged):
            store.append(connection, PLACE, Subscribed("c1", "s1"), ids=[uuid4()], unless_changed=decision)

    assert again == first


def test_decision_guard_and_expectation_hold_together_or_nothing_is_written(database_url: str) -> None:
    """One call may demand all three; whichever does not hold is named."""
    call = [Append(PLACE, [Subscribed("c1", "s1")], expected=NO_STREAM), Append(ELSEWHERE, [Subscribed("c1", "s2")])]
    course = school.stream("course", "c1")
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as other:
        store.append(other, course, CourseDefined("c1"))
        other.commit()
        decision = store.query(connection, seats_of("c1"))
        with pytest.raises(ConcurrencyError) as guard:
            store.append_many(connection, call, guards={course: 2}, unless_changed=decision)
        done = store.append_many(connection, call, guards={course: 1}, unless_changed=decision)
        with pytest.raises(DecisionChanged):
            store.append_many(connection, call[1:], guards={course: 1}, unless_changed=decision)

    assert guard.value.stream == course
    assert [(one.stream, one.version) for one in done] == [(PLACE, 1), (ELSEWHERE, 1)]
    with psycopg.connect(database_url) as connection:
        check_tables(connection)


def test_an_append_has_tags_of_its_own_beside_those_of_its_type(database_url: str) -> None:
    """`tags=` adds to the tags that the type declares."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, PLACE, Subscribed("c1", "s1"), Subscribed("c2", "s1"), tags=["term:2026"])
        found = store.query(connection, QueryItem(["term:2026", "course:c2"]))

    assert [one.event.course for one in found] == ["c2"]


def _with_session(url: str, work: Callable[[Session], object]) -> None:
    engine = sa.create_engine(sqlalchemy_url(url))
    with Session(engine) as session, session.begin():
        work(session)
    engine.dispose()


def test_a_session_decides_and_its_rows_are_committed_with_the_event_or_not_at_all(database_url: str) -> None:
    """The decision is part of the caller's own transaction."""

    def work(session: Session) -> None:
        session.execute(sa.text("create table if not exists seats (course text)"))
        session.execute(sa.text("insert into seats values ('c1')"))
        decision = store.query(session, seats_of("c1"))
        store.append(session, PLACE, Subscribed("c1", "s1"), unless_changed=decision)

    _with_session(database_url, work)

    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from seats").fetchone() == (1,)
        assert len(store.query(connection, seats_of("c1")).events) == 1


async def test_asynchronous_connections_decide_likewise(database_url: str) -> None:
    """`query_async` and `append_async`, on psycopg's and on SQLAlchemy's connections."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        decision = await store.query_async(connection, seats_of("c1"))
        await store.append_async(connection, PLACE, Subscribed("c1", "s1"), unless_changed=decision)
    engine = create_async_engine(sqlalchemy_url(database_url))
    async with engine.begin() as session:
        with pytest.raises(DecisionChanged):
            await store.append_async(session, PLACE, Subscribed("c1", "s2"), unless_changed=decision)
        decision = await store.query_async(session, seats_of("c1"))
        await store.append_async(session, PLACE, Subscribed("c1", "s2"), unless_changed=decision)
    await engine.dispose()

    assert len(decision.events) == 1


@pytest.mark.parametrize("tags", [[""], ["a\nb"], ["x" * 201], "course:c1", [7], ["a\0"]])
def test_an_invalid_tag_is_refused(tags: list[str]) -> None:
    """A tag is a short printable text."""
    with pytest.raises(InvalidEvent, match="tag"):
        QueryItem(tags)


def test_a_query_item_without_a_tag_is_refused() -> None:
    """Nothing could be locked: a constant tag is the way."""
    with pytest.raises(InvalidEvent, match="needs a tag"):
        QueryItem([])


def test_a_declaration_of_tags_that_names_no_field_is_refused() -> None:
    """`tags=` are names of fields, or a function."""
    with pytest.raises(CatalogError, match="names of fields"):
        school.event(name="Odd", tags=["a b"])(type("Odd", (), {}))
