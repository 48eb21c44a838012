"""`ids=` makes a retry after an unknown commit safe, and detects an id that is used twice."""

import threading
import uuid

import psycopg
import pytest

from eventkit.errors import ConcurrencyError, DuplicateEventId, InvalidEvent
from eventkit.storage.events.event_store import ANY, NO_STREAM, Append, Appended, Expected
from tests.storage.shop import ORDER, OTHER, Placed, order, store, written
from tests.waiting import wait_until

IDS = [uuid.uuid4() for _ in range(3)]


@pytest.mark.both_postgres
@pytest.mark.parametrize("expected", [ANY, 1])
@pytest.mark.parametrize("count", [1, 2])
def test_a_retry_returns_the_result_of_the_first_call(database_url: str, expected: Expected | int, count: int) -> None:
    """The same ids at that very place are a success, also when others have appended since; nothing is written twice."""
    events = [Placed(n) for n in range(count)]
    with psycopg.connect(database_url) as connection:
        store.append(connection, ORDER, Placed(9))
        first = store.append(connection, ORDER, *events, expected=expected, ids=IDS[:count])
        connection.commit()
        store.append(connection, ORDER, Placed(8))
        again = store.append(connection, ORDER, *events, expected=expected, ids=IDS[:count])

    assert again == first
    assert written(database_url) == {ORDER: [9, *range(count), 8]}


def test_a_retry_of_a_first_append_succeeds(database_url: str) -> None:
    """NO_STREAM is no obstacle where the stream was made by this very call."""
    with psycopg.connect(database_url) as connection:
        first = store.append(connection, ORDER, Placed(1), expected=NO_STREAM, ids=IDS[:1])
        again = store.append(connection, ORDER, Placed(1), expected=NO_STREAM, ids=IDS[:1])

    assert again == first
    assert written(database_url) == {ORDER: [1]}


@pytest.mark.parametrize("expected", [ANY, 0])
def test_a_retry_over_several_streams_succeeds_as_a_whole(database_url: str, expected: Expected | int) -> None:
    """Each stream's result is that of the first call."""
    appends = [
        Append(OTHER, [Placed(1), Placed(2)], expected=expected, ids=IDS[:2]),
        Append(ORDER, [Placed(3)], expected=expected, ids=IDS[2:]),
    ]
    with psycopg.connect(database_url) as connection:
        first = store.append_many(connection, appends)
        connection.commit()
        again = store.append_many(connection, appends)

    assert again == first
    assert written(database_url) == {OTHER: [1, 2], ORDER: [3]}


def test_a_retry_waits_for_the_first_call_that_is_still_committing(database_url: str) -> None:
    """An unknown commit may still be under way on the server when the retry comes."""
    outcome: list[Appended] = []

    def retry() -> None:
        with psycopg.connect(database_url, application_name="retry") as connection:
            outcome.append(store.append(connection, ORDER, Placed(1), ids=IDS[:1]))

    with psycopg.connect(database_url) as connection, psycopg.connect(database_url, autocommit=True) as watch:
        first = store.append(connection, ORDER, Placed(1), ids=IDS[:1])
        thread = threading.Thread(target=retry)
        thread.start()
        wait_until(
            lambda: watch.execute(
                "select 1 from pg_stat_activity where application_name = 'retry' and wait_event_type = 'Lock'"
            ).fetchone()
        )
        connection.commit()
        thread.join()

    assert outcome == [first]
    assert written(database_url) == {ORDER: [1]}


@pytest.mark.parametrize(
    ("stream", "count", "ids", "expected"),
    [
        (OTHER, 2, [0, 1], ANY),  # another stream
        (OTHER, 2, [0, 1], NO_STREAM),
        (ORDER, 2, [1, 0], ANY),  # another order
        (ORDER, 2, [0, 1], 1),  # another place
        (ORDER, 3, [0, 1, 2], ANY),  # more than there were
        (OTHER, 2, [2, 1], ANY),  # one of them
    ],
)
def test_an_id_that_is_elsewhere_is_an_error_that_leaves_the_transaction_usable(
    database_url: str, stream: str, count: int, ids: list[int], expected: Expected | int
) -> None:
    """DuplicateEventId names where it is; nothing of the call is written, and the caller may continue."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, ORDER, Placed(1), Placed(2), ids=IDS[:2])
        with pytest.raises(DuplicateEventId, match="of 'order-1'"):
            store.append(connection, stream, *[Placed(9)] * count, expected=expected, ids=[IDS[i] for i in ids])
        store.append(connection, order(3), Placed(3))

    assert written(database_url) == {ORDER: [1, 2], order(3): [3]}


def test_new_ids_do_not_excuse_a_wrong_version(database_url: str) -> None:
    """It is the usual conflict."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, ORDER, Placed(1))
        with pytest.raises(ConcurrencyError) as caught:
            store.append(connection, ORDER, Placed(2), expected=4, ids=IDS[:1])

    assert caught.value.actual == 1
    assert written(database_url) == {ORDER: [1]}


def test_ids_are_for_all_streams_of_a_call_or_for_none(database_url: str) -> None:
    """A retry could not tell which events are there already; nor may two events share an id."""
    with psycopg.connect(database_url) as connection:
        with pytest.raises(InvalidEvent, match="for some streams but not for all"):
            store.append_many(connection, [Append(ORDER, [Placed()], ids=IDS[:1]), Append(OTHER, [Placed()])])
        with pytest.raises(InvalidEvent, match="given to two events"):
            store.append_many(
                connection, [Append(ORDER, [Placed()], ids=IDS[:1]), Append(OTHER, [Placed()], ids=IDS[:1])]
            )
