"""Failures between transactions, and the errors for the caller: isolation, deadlock, timeout, lost connection."""

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
import sqlalchemy
from psycopg import Connection, IsolationLevel
from sqlalchemy.exc import DBAPIError

from eventkit.errors import AppendDeadlock, ConcurrencyError, DatabaseUnavailable, NotPrimary, StorageError
from eventkit.storage.events.event_store import ANY, NO_STREAM, Append, Expected
from tests.storage.shop import ORDER, OTHER, Placed, order, sqlalchemy_url, store, written
from tests.waiting import wait_until


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection of the service's."""
    with psycopg.connect(database_url, application_name="first") as connection:
        yield connection


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    """Another one."""
    with psycopg.connect(database_url, application_name="other") as connection:
        yield connection


@pytest.fixture
def wait_for_lock(database_url: str) -> Iterator[Callable[[str], None]]:
    """Wait until a session waits for a lock."""
    asks = "select 1 from pg_stat_activity where application_name = %s and wait_event_type = 'Lock'"
    with psycopg.connect(database_url, autocommit=True) as watch:

        def wait(name: str) -> None:
            wait_until(lambda: watch.execute(asks, (name,)).fetchone(), what=f"{name} to wait")

        yield wait


@pytest.mark.both_postgres
def test_of_many_writers_that_expect_a_version_one_wins(database_url: str) -> None:
    """Eight threads race for each version: it is written once, every loser's error has the version that is there."""
    won: list[int] = []
    told: list[int | None] = []
    start = threading.Barrier(8)

    def race(me: int) -> None:
        with psycopg.connect(database_url) as connection:
            for version in range(10):
                start.wait()
                try:
                    store.append(connection, ORDER, Placed(me), expected=version)
                    won.append(version)
                except ConcurrencyError as error:
                    told.append(error.actual)
                connection.commit()

    threads = [threading.Thread(target=race, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(won) == list(range(10))
    assert len(told) == 70
    assert None not in told
    assert len(written(database_url)[ORDER]) == 10


def test_writers_that_expect_anything_all_get_in(database_url: str) -> None:
    """No event is lost or doubled, with rollbacks in between."""

    def write(me: int) -> None:
        with psycopg.connect(database_url) as connection:
            for n in range(40):
                store.append(connection, order(n % 3), Placed(me * 100 + n), Placed(me * 100 + n))
                (connection.rollback if n % 4 == 0 else connection.commit)()

    threads = [threading.Thread(target=write, args=(me,)) for me in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    numbers = [n for numbers in written(database_url).values() for n in numbers]
    assert sorted(numbers) == sorted(2 * [me * 100 + n for me in range(6) for n in range(40) if n % 4])


@pytest.mark.both_postgres
@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
@pytest.mark.parametrize(("present", "expected"), [(1, 1), (1, ANY), (0, NO_STREAM)])
@pytest.mark.parametrize("many", [False, True])
def test_a_lost_race_under_stricter_isolation_says_that_the_transaction_is_over(
    database_url: str,
    level: IsolationLevel,
    present: int,
    expected: Expected | int,
    many: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    """PostgreSQL aborts it (40001): the error says so, and a new transaction can do it again."""
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as other:
        for n in range(present):
            store.append(other, ORDER, Placed(n))
        other.commit()
        connection.isolation_level = level
        connection.execute("select count(*) from eventkit.events")
        store.append(other, ORDER, Placed(7))
        other.commit()
        more = [Append(OTHER, [Placed()])] if many else []
        with pytest.raises(ConcurrencyError, match="retry it whole") as caught:
            store.append_many(connection, [*more, Append(ORDER, [Placed(9)], expected=expected)])
        connection.rollback()
        store.append(connection, ORDER, Placed(9), expected=present + 1)

    assert not caught.value.transaction_usable
    assert caught.value.actual is None
    assert written(database_url) == {ORDER: [*range(present), 7, 9]}


def test_a_version_that_was_wrong_from_the_start_leaves_a_strict_transaction_usable(
    database_url: str, connection: Connection
) -> None:
    """Nothing was aborted: the stream was seen as it is."""
    connection.isolation_level = IsolationLevel.SERIALIZABLE
    store.append(connection, ORDER, Placed(1))
    with pytest.raises(ConcurrencyError) as caught:
        store.append(connection, ORDER, Placed(2), expected=5)
    store.append(connection, ORDER, Placed(3))
    connection.commit()

    assert caught.value.transaction_usable
    assert written(database_url) == {ORDER: [1, 3]}


def test_a_deadlock_says_retry(
    database_url: str, connection: Connection, other: Connection, wait_for_lock: Callable[[str], None]
) -> None:
    """Two transactions that append in opposite order: one fails with advice to retry, and the retry succeeds."""
    outcome: list[BaseException | None] = []

    def crossing(mine: Connection, stream: str) -> None:
        try:
            store.append(mine, stream, Placed(2))
            mine.commit()
        except AppendDeadlock as error:
            outcome.append(error)
            mine.rollback()
            for each in (ORDER, OTHER):
                store.append(mine, each, Placed(3))
            mine.commit()

    store.append(connection, ORDER, Placed(1))
    store.append(other, OTHER, Placed(1))
    thread = threading.Thread(target=crossing, args=(other, ORDER))
    thread.start()
    wait_for_lock("other")
    crossing(connection, OTHER)
    thread.join()

    assert "retry it whole" in str(outcome[0])
    assert len(outcome) == 1
    assert sorted(map(sorted, written(database_url).values())) in (
        [[1, 3], [2, 3]],
        [[1, 3], [1, 2, 3]],
        [[1, 2, 3]] * 2,
    )


@pytest.mark.parametrize(
    ("setting", "error"),
    [("lock_timeout", psycopg.errors.LockNotAvailable), ("statement_timeout", psycopg.errors.QueryCanceled)],
)
def test_a_timeout_of_the_callers_stays_the_drivers_error(
    connection: Connection, other: Connection, setting: str, error: type[psycopg.Error]
) -> None:
    """The driver's error is clear enough: the caller has set the timeout."""
    store.append(other, ORDER, Placed(1))
    connection.execute(f"set {setting} = 50")

    with pytest.raises(error, match="timeout"):
        store.append(connection, ORDER, Placed(2))


def test_a_timeout_on_a_session_stays_sqlalchemys_error(database_url: str, other: Connection) -> None:
    """As any statement of the session's own would raise it."""
    store.append(other, ORDER, Placed(1))
    engine = sqlalchemy.create_engine(sqlalchemy_url(database_url))

    with engine.connect() as connection:
        connection.exec_driver_sql("set lock_timeout = 50")
        with pytest.raises(DBAPIError, match="lock timeout"):
            store.append(connection, ORDER, Placed(2))

    engine.dispose()


@pytest.mark.parametrize("expected", [ANY, NO_STREAM])
def test_a_lost_connection_is_its_own_error(
    database_url: str, connection: Connection, other: Connection, expected: Expected
) -> None:
    """Also when it is lost in the middle of an append of several streams."""
    other.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))

    with pytest.raises(DatabaseUnavailable):
        store.append_many(connection, [Append(ORDER, [Placed()], expected=expected), Append(OTHER, [Placed()])])

    assert written(database_url) == {}


def test_a_lost_connection_is_lost_for_sqlalchemy_too(database_url: str, other: Connection) -> None:
    """The pool learns of it: the next connection works."""
    engine = sqlalchemy.create_engine(sqlalchemy_url(database_url))
    with engine.connect() as connection:
        pid = connection.exec_driver_sql("select pg_backend_pid()").scalar_one()
        other.execute("select pg_terminate_backend(%s)", (pid,))
        with pytest.raises(DatabaseUnavailable):
            store.append(connection, ORDER, Placed())
    with engine.begin() as connection:
        store.append(connection, ORDER, Placed(5))
    engine.dispose()

    assert written(database_url) == {ORDER: [5]}


def test_a_read_only_transaction_is_refused_in_a_sentence(connection: Connection) -> None:
    """A standby, or a transaction that was declared so."""
    connection.read_only = True

    with pytest.raises(NotPrimary, match="read-only"):
        store.append(connection, ORDER, Placed())


def test_tables_changed_by_hand_are_named(connection: Connection) -> None:
    """A stream's row that was set back would write a version twice."""
    store.append(connection, ORDER, Placed())
    connection.execute("update eventkit.streams set version = 0")

    with pytest.raises(StorageError, match="manual change"):
        store.append(connection, ORDER, Placed())
