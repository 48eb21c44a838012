"""A psycopg connection keeps a cursor of its last statement, which nobody else notices."""

import gc
import threading
import weakref
from typing import Any

import psycopg
from psycopg.types.string import TextLoader

from eventkit.storage.db import statements
from tests.storage.shop import Placed, order, store
from tests.waiting import wait_until

OPEN = "select count(*) from pg_stat_activity where application_name = 'dropped'"


def test_a_connection_that_is_dropped_is_closed_at_once(database_url: str) -> None:
    """No cursor of ours keeps it alive, not even until the next garbage collection."""
    gc.disable()
    try:
        dropped = psycopg.connect(database_url, application_name="dropped")
        store.append(dropped, order(1), Placed())
        dropped.commit()
        dropped._pool = None  # or psycopg warns that nobody has closed it
        seen = weakref.ref(dropped)
        del dropped

        assert seen() is None
        with psycopg.connect(database_url, autocommit=True) as other:
            wait_until(lambda: other.execute(OPEN).fetchone() == (0,), what="the end of the session")
    finally:
        gc.enable()


def test_threads_that_share_a_connection_each_get_the_rows_of_their_own(database_url: str) -> None:
    """A thread that finds the cursor in use makes its own: each append gets its own version and position."""
    found: dict[int, list[Any]] = {number: [] for number in range(4)}

    def write(connection: "psycopg.Connection[Any]", number: int) -> None:
        for _ in range(100):
            found[number].append(store.append(connection, order(number), Placed(number)))

    with psycopg.connect(database_url) as connection:
        threads = [threading.Thread(target=write, args=(connection, number)) for number in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = connection.execute("select stream, version, position from eventkit.events").fetchall()

    mine = [(each.stream, each.version, each.position) for done in found.values() for each in done]
    assert sorted(mine) == sorted(rows)
    assert [each.version for each in found[3]] == list(range(1, 101))


def test_what_the_service_registers_between_two_appends_changes_nothing(database_url: str) -> None:
    """Its own loaders, and a pipeline, have no part in our statements."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, order(1), Placed(1))
        connection.commit()
        connection.adapters.register_loader("int4", TextLoader)
        connection.adapters.register_loader("int8", TextLoader)
        again = store.append(connection, order(1), Placed(2))
        connection.commit()
        with connection.pipeline():
            piped = store.append(connection, order(1), Placed(3))

    assert [(again.version, type(again.position)), (piped.version, type(piped.position))] == [(2, int), (3, int)]


def test_a_large_event_is_not_kept_in_memory(database_url: str) -> None:
    """A pool of connections holds no megabytes of events that were appended long ago."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, order(1), Placed(1))
        kept = list(statements._kept[connection].values())
        store.append(connection, order(1), Placed(2, "x" * 100_000))

        assert list(statements._kept[connection].values()) == kept
        assert store.append(connection, order(1), Placed(3)).version == 3
