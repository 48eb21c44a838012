"""Guards: versions that an append expects of streams that it does not write."""

import threading

import psycopg
import pytest

from eventkit.errors import ConcurrencyError, InvalidEvent
from eventkit.storage.events.event_store import ANY, NO_STREAM, Append, encode_entry
from tests.storage.shop import ORDER, OTHER, Placed, order, store, written
from tests.waiting import wait_until


def test_a_guard_that_holds_lets_the_append_through_and_writes_nothing_to_its_stream(database_url: str) -> None:
    """A guarded stream stays at its version."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, OTHER, Placed(1), Placed(2))
        done = store.append(connection, ORDER, Placed(3), guards={OTHER: 2})

    assert (done.stream, done.version) == (ORDER, 1)
    assert written(database_url) == {ORDER: [3], OTHER: [1, 2]}


@pytest.mark.both_postgres
@pytest.mark.parametrize("expected", [NO_STREAM, 1, 3])
def test_a_guard_that_does_not_hold_is_a_conflict_and_nothing_is_written(database_url: str, expected: int) -> None:
    """The error names the guarded stream; the transaction continues."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, OTHER, Placed(1), Placed(2))
        with pytest.raises(ConcurrencyError) as caught:
            store.append(connection, ORDER, Placed(3), guards={OTHER: expected})
        store.append(connection, ORDER, Placed(4), guards={OTHER: 2})

    assert (caught.value.stream, caught.value.actual) == (OTHER, 2)
    assert written(database_url) == {ORDER: [4], OTHER: [1, 2]}


@pytest.mark.parametrize("events", [1, 2])
def test_a_stream_that_was_guarded_as_missing_can_be_created(database_url: str, events: int) -> None:
    """A guard on a missing stream leaves its row at version 0, which NO_STREAM accepts."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, ORDER, Placed(1), guards={OTHER: NO_STREAM})
        store.append(connection, order(3), Placed(1), guards={OTHER: 0})
        done = store.append(connection, OTHER, *[Placed(n) for n in range(events)], expected=NO_STREAM)
        with pytest.raises(ConcurrencyError):
            store.append(connection, OTHER, Placed(9), expected=NO_STREAM)

    assert done.version == events


def test_two_transactions_that_each_guard_the_others_stream_do_not_both_commit(database_url: str) -> None:
    """There is no write skew: the second waits for the first, and then sees its event."""
    outcome: list[object] = []

    def second() -> None:
        with psycopg.connect(database_url, application_name="second") as connection:
            try:
                outcome.append(store.append(connection, OTHER, Placed(2), guards={ORDER: NO_STREAM}))
            except ConcurrencyError as error:
                outcome.append((error.stream, error.actual))

    with psycopg.connect(database_url) as connection, psycopg.connect(database_url, autocommit=True) as watch:
        store.append(connection, ORDER, Placed(1), guards={OTHER: NO_STREAM})
        thread = threading.Thread(target=second)
        thread.start()
        waits = "select from pg_stat_activity where application_name = 'second' and wait_event_type = 'Lock'"
        wait_until(lambda: watch.execute(waits).fetchone() is not None, timeout=60)
        connection.commit()
        thread.join()

    assert outcome == [(ORDER, 1)]


def test_a_guard_holds_under_repeatable_read(database_url: str) -> None:
    """A stricter caller, whose snapshot hides the change, gets PostgreSQL's error, and its text says so."""
    with psycopg.connect(database_url) as other:
        store.append(other, OTHER, Placed(1))
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as other:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select 1 from eventkit.streams")
        store.append(other, OTHER, Placed(2))
        other.commit()
        with pytest.raises(ConcurrencyError) as caught:
            store.append(connection, ORDER, Placed(3), guards={OTHER: 1})

    assert not caught.value.transaction_usable


def test_many_appends_have_guards_too(database_url: str) -> None:
    """All streams of a call, written and guarded, are locked in one order; results are those of the written ones."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, order(0), Placed(0))
        done = store.append_many(
            connection, [Append(OTHER, [Placed(1)]), Append(ORDER, [Placed(2), Placed(3)])], guards={order(0): 1}
        )

    assert [(one.stream, one.version) for one in done] == [(OTHER, 1), (ORDER, 2)]


def test_a_condition_of_another_kind_is_refused(database_url: str) -> None:
    """With the kind that is needed, before any SQL."""
    with psycopg.connect(database_url) as connection:
        with pytest.raises(InvalidEvent, match=r"\{stream: version\}"):
            store.append(connection, ORDER, Placed(1), guards=[OTHER])  # type: ignore[arg-type]
        with pytest.raises(InvalidEvent, match="as `query` returns it"):
            store.append(connection, ORDER, Placed(1), unless_changed=[])  # type: ignore[arg-type]
        with pytest.raises(InvalidEvent, match="as `query` returns it"):
            store.append_many(connection, [Append(ORDER, [Placed(1)])], unless_changed="x")  # type: ignore[arg-type]


@pytest.mark.parametrize(("guards", "words"), [({OTHER: ANY}, "any version"), ({ORDER: 1}, "expected=")])
def test_a_guard_that_guards_nothing_is_refused(database_url: str, guards: dict[str, int], words: str) -> None:
    """A guard expects a version, of a stream that the call does not write."""
    with psycopg.connect(database_url) as connection, pytest.raises(InvalidEvent, match=words):
        store.append(connection, ORDER, Placed(1), guards=guards)


def test_a_retry_with_ids_finds_its_events_although_its_guard_no_longer_holds(database_url: str) -> None:
    """After an unknown commit the ids are looked up before a conflict is raised."""
    ids = [encode_entry(store, ORDER, Placed()).ids[0]]
    with psycopg.connect(database_url) as connection:
        first = store.append(connection, ORDER, Placed(1), guards={OTHER: NO_STREAM}, ids=ids)
        store.append(connection, OTHER, Placed(2))
        again = store.append(connection, ORDER, Placed(1), guards={OTHER: NO_STREAM}, ids=ids)

    assert again == first
