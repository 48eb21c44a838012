"""The rows and the result of one append, and the expectations it checks."""

import json
import uuid
import zlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import dict_row

from eventkit.domain.metadata import Metadata
from eventkit.errors import ConcurrencyError, InvalidEvent, InvalidStreamId, SchemaMismatch, UnknownEventType
from eventkit.storage.events.event_store import ANY, NO_STREAM, EventStore, Expected
from tests.storage.shop import ORDER, OTHER, Placed, check_tables, order, shop, store, written


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection of the service's."""
    with psycopg.connect(database_url) as connection:
        yield connection


def test_an_append_returns_where_the_events_went(connection: Connection) -> None:
    """Stream, version and position of the last event, and the ids of all, which are UUIDs of version 7."""
    first = store.append(connection, ORDER, Placed(1))
    more = store.append(connection, ORDER, Placed(2), Placed(3))

    assert (first.stream, first.version, more.version) == (ORDER, 1, 3)
    assert more.position == first.position + 2
    rows = connection.execute("select id from eventkit.events order by position").fetchall()
    assert [row[0] for row in rows] == [*first.ids, *more.ids]
    assert {event_id.version for event_id in more.ids} == {7}


def test_events_are_committed_with_the_callers_rows_or_not_at_all(database_url: str) -> None:
    """Events that the caller rolls back have not happened; events that it commits have."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, ORDER, Placed(1))
        connection.rollback()
        store.append(connection, OTHER, Placed(2))

    assert written(database_url) == {OTHER: [2]}


@pytest.mark.parametrize("count", [1, 3])
def test_an_outbox_row_says_where_the_event_goes(connection: Connection, count: int) -> None:
    """Topic by the catalog, shard by the stream, size of data and metadata in bytes, as they are sent."""
    stream = shop.stream("invoice", "ü")
    metadata = {"who": "äß"}
    store.append(connection, stream, *[Placed(n, "é") for n in range(count)], metadata=metadata)

    rows = connection.execute("select topic, shard, bytes from eventkit.outbox").fetchall()

    size = len('{"n": 0, "note": "é"}{"who": "äß"}'.encode())
    assert rows == [("shop.billing", zlib.crc32(stream.encode()) % 256, size)] * count


@pytest.mark.both_postgres
@pytest.mark.parametrize("count", [1, 2])
def test_appended_events_are_read_back_equal(connection: Connection, count: int) -> None:
    """Quotes, backslashes, braces and any letters survive both forms of the statement."""
    hard = "\"'\\ {},null %s %% $1 \n\t ☃ 𝄞"
    metadata = Metadata(correlation_id="c", causation_id="a", extra={"x": hard})
    events = [Placed(n, hard) for n in range(count)]
    appended = store.append(connection, order(hard.replace("\n\t", "")), *events, metadata=metadata)

    read = list(store.read_stream(connection, appended.stream))

    assert [envelope.event for envelope in read] == events
    assert read[-1].metadata == metadata
    assert (read[-1].source, read[-1].type, read[-1].position) == ("shop", "Placed", appended.position)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("expected", [ANY, NO_STREAM, 0])
def test_a_first_append_may_expect_anything_or_nothing(
    connection: Connection, expected: Expected | int, count: int
) -> None:
    """A stream begins with its first event; 0 is the version of a stream that does not exist."""
    appended = store.append(connection, ORDER, *[Placed()] * count, expected=expected)

    assert appended.version == count
    check_tables(connection)


@pytest.mark.parametrize("count", [1, 2])
def test_the_version_that_is_there_may_be_expected(connection: Connection, count: int) -> None:
    """The stream's version rises by the number of events."""
    store.append(connection, ORDER, *[Placed()] * 5)

    appended = store.append(connection, ORDER, *[Placed()] * count, expected=5)

    assert appended.version == 5 + count
    check_tables(connection)


@pytest.mark.both_postgres
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("present", "expected", "actual"), [(5, 4, 5), (5, 6, 5), (5, NO_STREAM, 5), (0, 1, 0), (0, 5, 0)]
)
def test_another_version_is_a_conflict_that_leaves_the_transaction_usable(
    database_url: str, present: int, expected: Expected | int, actual: int, count: int
) -> None:
    """The error has the values, nothing of the call is there after a commit, and the caller may continue."""
    with psycopg.connect(database_url) as connection:
        for n in range(present):
            store.append(connection, ORDER, Placed(n))
        with pytest.raises(ConcurrencyError) as caught:
            store.append(connection, ORDER, *[Placed(99)] * count, expected=expected)
        store.append(connection, OTHER, Placed(7))

    error = caught.value
    assert (error.stream, error.expected, error.actual) == (ORDER, 0 if expected is NO_STREAM else expected, actual)
    assert error.transaction_usable
    assert str(ORDER) in str(error)
    assert written(database_url).get(ORDER, []) == list(range(present))
    assert written(database_url)[OTHER] == [7]


def test_a_callers_savepoint_takes_its_events_back(database_url: str) -> None:
    """A rolled-back nested transaction has no events; those around it have."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, ORDER, Placed(1))
        with connection.transaction() as nested:
            store.append(connection, ORDER, Placed(2))
            raise psycopg.Rollback(nested)
        store.append(connection, ORDER, Placed(3), expected=1)

    assert written(database_url) == {ORDER: [1, 3]}


@pytest.mark.both_postgres
@pytest.mark.parametrize(("given", "then"), [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply",) * 2])
@pytest.mark.parametrize("count", [1, 2])
def test_a_commit_with_events_is_durable_before_it_is_visible(
    connection: Connection, given: str, then: str, count: int
) -> None:
    """synchronous_commit is raised for this transaction alone, and never lowered."""
    connection.execute(f"set synchronous_commit = {given}")
    connection.commit()

    store.append(connection, ORDER, *[Placed()] * count)

    assert connection.execute("show synchronous_commit").fetchone() == (then,)
    connection.rollback()
    assert connection.execute("show synchronous_commit").fetchone() == (given,)


def test_the_connections_own_factories_do_not_matter(connection: Connection) -> None:
    """A row factory or a cursor class of the service's own changes nothing for us."""
    connection.row_factory = dict_row  # type: ignore[assignment]
    connection.cursor_factory = psycopg.RawCursor

    appended = store.append(connection, ORDER, Placed(1), Placed(2))

    assert [envelope.version for envelope in store.read_stream(connection, ORDER)] == [1, 2]
    assert appended.version == 2


def test_numbers_of_any_size_use_one_prepared_statement(connection: Connection) -> None:
    """The driver types numbers by size; ours prepares the statement once."""
    for n in range(12):
        store.append(connection, ORDER, Placed(n, "x" * 10 ** (n % 6)))

    prepared = connection.execute("select count(*) from pg_prepared_statements where statement like '%outbox%'")
    assert prepared.fetchone() == (1,)


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ((ORDER,), {}, "nothing to append"),
        ((ORDER, Placed()), {"expected": -1}, "expected=-1"),
        ((ORDER, Placed()), {"expected": True}, "expected=True"),
        ((ORDER, Placed()), {"expected": "1"}, "expected='1'"),
        ((ORDER, Placed()), {"expected": 2**31}, "expected=2147483648"),
        ((ORDER, Placed()), {"ids": []}, "0 ids"),
        ((ORDER, Placed(), Placed()), {"ids": [uuid.UUID(int=1)] * 2}, "1 of them distinct"),
        ((ORDER, Placed()), {"ids": ["x"]}, "'x' is no uuid.UUID"),
        ((ORDER, Placed()), {"metadata": {"": 1}}, "metadata"),
        ((ORDER, Placed()), {"metadata": 5}, "metadata"),
        ((ORDER, Placed("one")), {}, "n"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_refused_before_any_sql(
    connection: Connection, arguments: tuple[Any, ...], options: dict[str, Any], says: str
) -> None:
    """InvalidEvent has the value; no transaction was begun."""
    with pytest.raises(InvalidEvent, match=says):
        store.append(connection, *arguments, **options)

    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_bad_stream_or_an_unknown_type_is_refused(connection: Connection) -> None:
    """Streams are checked also when they come as text."""
    with pytest.raises(InvalidStreamId, match="Order 1"):
        store.append(connection, "Order 1", Placed())
    with pytest.raises(UnknownEventType):
        store.append(connection, ORDER, [Placed()])

    assert store.append(connection, "order-1", Placed()).stream == ORDER


def test_a_database_without_the_tables_names_the_command_to_run(empty_database_url: str) -> None:
    """Migrations not run: one sentence."""
    with psycopg.connect(empty_database_url) as connection, pytest.raises(SchemaMismatch, match="eventkit db upgrade"):
        store.append(connection, ORDER, Placed())


def test_the_schema_may_have_any_name(connection: Connection) -> None:
    """Also one that must be quoted, or has a percent sign."""
    connection.execute('alter schema eventkit rename to "odd%""name"')
    odd = EventStore(shop, schema='odd%"name')
    odd.append(connection, ORDER, Placed(1))
    odd.append(connection, ORDER, Placed(2), Placed(3))

    assert [e.event.n for e in odd.read_stream(connection, ORDER)] == [1, 2, 3]
    assert [e.event.n for e in odd.read_all(connection)] == [1, 2, 3]


def test_given_ids_are_written(connection: Connection) -> None:
    """The caller may choose the ids."""
    ids = [uuid.uuid4(), uuid.uuid4()]

    appended = store.append(connection, ORDER, Placed(1), Placed(2), ids=ids)

    assert appended.ids == tuple(ids)
    assert [envelope.id for envelope in store.read_stream(connection, ORDER)] == ids
    assert isinstance(appended.ids[0], UUID)


def test_data_is_stored_as_json_that_sql_can_query(connection: Connection) -> None:
    """Someone in psql understands the row."""
    store.append(connection, ORDER, Placed(1, "x"), metadata={"who": "me"})

    row = connection.execute("select type, schema_version, data::text, metadata::text from eventkit.events").fetchone()

    assert row is not None
    assert (row[0], row[1], json.loads(row[2]), json.loads(row[3])) == (
        "Placed",
        1,
        {"n": 1, "note": "x"},
        {"who": "me"},
    )
