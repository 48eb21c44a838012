"""Reading a stream and everything, forwards and backwards, in batches that never hold it whole."""

from collections.abc import Iterator
from typing import Any, TypedDict, Unpack

import psycopg
import pytest
from psycopg import Connection, IsolationLevel

from eventkit.errors import InvalidEvent, InvalidStreamId, UnsupportedConnection
from tests.storage.shop import ORDER, OTHER, Placed, order, store


class Options(TypedDict, total=False):
    """The options of a reading."""

    after: int
    backwards: bool
    limit: int


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection of the service's."""
    with psycopg.connect(database_url) as connection:
        yield connection


@pytest.mark.both_postgres
@pytest.mark.parametrize("batch", [1, 3, 7, 1000])
def test_a_stream_is_read_in_order_with_any_batch_size(connection: Connection, batch: int) -> None:
    """Forwards and backwards, above a version, up to a limit."""
    for n in range(1, 8):
        store.append(connection, ORDER, Placed(n))
        store.append(connection, OTHER, Placed(-n))

    def versions(**options: Unpack[Options]) -> list[int]:
        return [envelope.event.n for envelope in store.read_stream(connection, ORDER, batch=batch, **options)]

    assert versions() == [1, 2, 3, 4, 5, 6, 7]
    assert versions(after=5) == [6, 7]
    assert versions(after=7) == versions(limit=0) == versions(after=2**40) == []
    assert versions(limit=4) == [1, 2, 3, 4]
    assert versions(backwards=True, limit=3) == [7, 6, 5]
    assert versions(backwards=True, after=4) == [7, 6, 5]


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_everything_is_read_in_order_of_position(connection: Connection, batch: int) -> None:
    """Past rolled-back positions, which nobody can fill any more."""
    for n in range(1, 8):
        store.append(connection, order(n % 2), Placed(n))
        connection.commit()
        store.append(connection, ORDER, Placed(0), Placed(0))
        connection.rollback()

    def numbers(**options: Unpack[Options]) -> list[int]:
        return [envelope.event.n for envelope in store.read_all(connection, batch=batch, **options)]

    positions = [envelope.position for envelope in store.read_all(connection, batch=batch)]
    assert numbers() == [1, 2, 3, 4, 5, 6, 7]
    assert positions == [1, 4, 7, 10, 13, 16, 19]
    assert numbers(after=7) == [4, 5, 6, 7]
    assert numbers(after=8, limit=2) == [4, 5]
    assert numbers(after=100) == numbers(limit=0) == []
    assert numbers(backwards=True) == [7, 6, 5, 4, 3, 2, 1]
    assert numbers(backwards=True, limit=2) == [7, 6]
    assert numbers(backwards=True, after=13) == [7, 6]


def test_a_stream_that_does_not_exist_is_empty(connection: Connection) -> None:
    """No error: nothing has happened."""
    assert list(store.read_stream(connection, ORDER)) == []
    assert list(store.read_all(connection)) == []


def test_reading_holds_one_batch_at_a_time(connection: Connection) -> None:
    """Each batch is a statement of its own, made when it is wanted."""
    store.append(connection, ORDER, *[Placed(n) for n in range(10)])

    for read in (store.read_stream(connection, ORDER, batch=4), store.read_all(connection, batch=4)):
        next(read)
        connection.execute("savepoint before")
        connection.execute("alter table eventkit.events rename to gone")
        assert [next(read).version for _ in range(3)] == [2, 3, 4]
        connection.execute("rollback to savepoint before")
        assert len(list(read)) == 6


def test_times_are_in_utc_in_any_session(connection: Connection) -> None:
    """The session's TimeZone is the service's own affair."""
    store.append(connection, ORDER, Placed())
    row = connection.execute("select recorded_at from eventkit.events").fetchone()
    connection.execute("set timezone = 'Asia/Kathmandu'")

    (envelope,) = store.read_stream(connection, ORDER)

    assert row is not None
    assert envelope.recorded_at == row[0]
    assert envelope.recorded_at.utcoffset() is not None
    assert not envelope.recorded_at.utcoffset()


@pytest.mark.parametrize("options", [{"after": -1}, {"after": None}, {"limit": -1}, {"batch": 0}, {"batch": True}])
def test_bad_numbers_are_refused_at_the_call(connection: Connection, options: dict[str, Any]) -> None:
    """Not at the first event."""
    with pytest.raises(InvalidEvent, match=str(next(iter(options)))):
        store.read_stream(connection, ORDER, **options)
    with pytest.raises(InvalidEvent, match=str(next(iter(options)))):
        store.read_all(connection, **options)
    with pytest.raises(InvalidStreamId):
        store.read_stream(connection, "order")


def test_a_fixed_snapshot_cannot_prove_gaps(connection: Connection) -> None:
    """Everything forwards needs READ COMMITTED; a stream and backwards do not."""
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    store.append(connection, ORDER, Placed(1))

    with pytest.raises(UnsupportedConnection, match="REPEATABLE READ"):
        list(store.read_all(connection))
    assert [envelope.event.n for envelope in store.read_all(connection, backwards=True)] == [1]
    assert [envelope.event.n for envelope in store.read_stream(connection, ORDER)] == [1]
