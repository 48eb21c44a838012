"""Cases of tags, each of which detects one wrong statement: `test_tag_mutants` runs them too."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from eventkit.errors import DecisionChanged
from eventkit.storage.events import decision as tags
from eventkit.storage.events import encryption_of
from tests.storage.tags.courses import CourseDefined, Subscribed, enrol, school, seats_of, store
from tests.waiting import wait_until

WAITS = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
PLACE = school.stream("subscription", 1)
ELSEWHERE = school.stream("subscription", 2)


class Waiting:
    """A call in a thread of its own, which waits for a lock by now."""

    def __init__(self, url: str, call: Callable[[], object]) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(call)
        with psycopg.connect(url, autocommit=True) as watch:
            wait_until(lambda: self._future.done() or watch.execute(WAITS).fetchone() is not None, timeout=60)
        assert not self._future.done(), "it did not wait"

    def result(self) -> object:
        """Return the result of the call, or raise its error."""
        try:
            return self._future.result(timeout=60)
        finally:
            self._pool.shutdown()


def test_an_event_that_came_while_it_waited_is_found(database_url: str) -> None:
    """An append that waited for a tag sees the event of the one that it waited for."""
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as other:
        decision = store.query(connection, seats_of("c1"))
        enrol(other, ("c1", "s1"), place="other")
        waiting = Waiting(
            database_url, lambda: store.append(connection, PLACE, Subscribed("c1", "s2"), unless_changed=decision)
        )
        other.commit()
        with pytest.raises(DecisionChanged):
            waiting.result()


def test_an_event_that_waited_for_a_tag_has_a_higher_position(database_url: str) -> None:
    """An event whose append waited for its tag is above all events that were there when the wait ended."""
    with (
        psycopg.connect(database_url) as connection,
        psycopg.connect(database_url) as slow,
        psycopg.connect(database_url) as quick,
    ):
        enrol(quick, ("c1", "s1"), place="quick")
        waiting = Waiting(database_url, lambda: enrol(slow, ("c1", "s2"), place="slow"))
        enrol(quick, ("c1", "s3"), place="quick")
        quick.commit()
        waiting.result()
        decision = store.query(connection, seats_of("c1"))
        slow.commit()
        with pytest.raises(DecisionChanged):
            store.append(connection, PLACE, Subscribed("c1", "s4"), unless_changed=decision)


def test_an_event_between_the_statements_of_a_query_is_found(database_url: str) -> None:
    """A query has seen only the events it returned, in any number of statements."""
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as other:
        items = store._items([seats_of("c1")])
        steps = tags.query_steps(store._sql, items, encryption_of(store))
        rows = connection.execute(*next(steps)).fetchall()
        enrol(other, ("c1", "s1"), place="other")
        other.commit()
        try:
            while True:
                rows = connection.execute(*steps.send(rows)).fetchall()
        except StopIteration as stop:
            decision = store._decision(items, stop.value)
        with pytest.raises(DecisionChanged):
            store.append(connection, PLACE, Subscribed("c1", "s2"), unless_changed=decision)


def test_an_event_in_place_of_a_rolled_back_one_is_found(database_url: str) -> None:
    """A tag that was used as often as before was not used by the same events."""
    with psycopg.connect(database_url) as connection:
        connection.execute("savepoint before")
        enrol(connection, ("c1", "s1"))
        decision = store.query(connection, seats_of("c1"))
        connection.execute("rollback to savepoint before")
        enrol(connection, ("c1", "s2"))
        with pytest.raises(DecisionChanged):
            store.append(connection, PLACE, Subscribed("c1", "s3"), unless_changed=decision)


def test_tags_are_locked_in_one_order(database_url: str) -> None:
    """A call that waits for a tag holds none of the later ones, in any order of its events."""
    with (
        psycopg.connect(database_url) as connection,
        psycopg.connect(database_url) as other,
        psycopg.connect(database_url) as third,
    ):
        store.append(other, ELSEWHERE, CourseDefined("m"))
        call = [CourseDefined("z"), CourseDefined("m")]
        waiting = Waiting(database_url, lambda: store.append(connection, PLACE, *call))
        third.execute("set lock_timeout = '300ms'")
        try:
            store.append(third, school.stream("subscription", 3), CourseDefined("z"))
        finally:
            third.rollback()
            other.commit()
            waiting.result()
