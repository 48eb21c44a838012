"""One call for several streams: all or nothing, in one order, with positions that ascend within each stream."""

import random
import threading
from collections.abc import Generator, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from eventkit.errors import ConcurrencyError, InvalidEvent
from eventkit.storage.events.event_store import ANY, NO_STREAM, Append
from tests.storage.shop import ORDER, OTHER, Placed, check_tables, order, shop, store, written
from tests.waiting import wait_until


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection of the service's."""
    with psycopg.connect(database_url) as connection:
        yield connection


@pytest.mark.both_postgres
def test_positions_ascend_with_versions_in_every_stream_of_a_call(connection: Connection) -> None:
    """Fifty streams of four events: without `order by ord` they draw their positions as a join hands them over."""
    appends = [Append(order(n), [Placed(v) for v in range(4)]) for n in range(50)]
    random.Random(1).shuffle(appends)

    for _ in range(10):
        store.append_many(connection, appends)

    check_tables(connection)
    assert [envelope.event.n for envelope in store.read_stream(connection, order(7))] == [0, 1, 2, 3] * 10


@pytest.mark.both_postgres
@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("without", ["enable_hashjoin", "enable_mergejoin", "enable_nestloop", "enable_sort"])
def test_positions_ascend_under_any_plan(connection: Connection, mode: str, without: str) -> None:
    """Under any join of the planner; a prepared statement's generic plan hashes the events, and reverses them."""
    connection.execute(f"set plan_cache_mode = {mode}")
    connection.execute(f"set {without} = off")
    connection.prepare_threshold = 0

    store.append_many(connection, [Append(order(n), [Placed(v) for v in range(4)]) for n in reversed(range(50))])
    store.append(connection, order(0), *[Placed(v) for v in range(200)])

    check_tables(connection)
    assert [e.event.n for e in store.read_stream(connection, order(0))] == [0, 1, 2, 3, *range(200)]


def test_the_results_come_in_the_order_of_the_appends(connection: Connection) -> None:
    """Each says where its own events went."""
    store.append(connection, OTHER, Placed())

    results = store.append_many(
        connection,
        [
            Append(OTHER, [Placed(), Placed()], expected=1),
            Append(ORDER, [Placed()], expected=NO_STREAM),
            Append(order(0), [Placed()], expected=ANY, metadata={"who": "me"}),
        ],
    )

    assert [(result.stream, result.version) for result in results] == [(OTHER, 3), (ORDER, 1), (order(0), 1)]
    for result in results:
        last = next(store.read_stream(connection, result.stream, backwards=True))
        assert (last.position, last.id) == (result.position, result.ids[-1])
    assert next(store.read_stream(connection, order(0))).metadata.extra == {"who": "me"}


@pytest.mark.both_postgres
@pytest.mark.parametrize("wrong", [0, 1, 2])
@pytest.mark.parametrize("expected", [NO_STREAM, 1, 7])
def test_one_wrong_expectation_writes_nothing_of_the_call(database_url: str, wrong: int, expected: int) -> None:
    """Catch it, commit: nothing of the call exists, the caller's earlier rows do, and the tables agree."""
    streams = [order(3), order(1), order(2)]
    with psycopg.connect(database_url) as connection:
        store.append_many(connection, [Append(stream, [Placed(1), Placed(2)]) for stream in streams])
        with pytest.raises(ConcurrencyError) as caught:
            store.append_many(
                connection,
                [
                    Append(stream, [Placed(99)], expected=expected if index == wrong else (ANY, 2, 2)[index])
                    for index, stream in enumerate(streams)
                ],
            )
        store.append(connection, ORDER, Placed(3), expected=2)

    error = caught.value
    assert (error.stream, error.actual, error.transaction_usable) == (streams[wrong], 2, True)
    assert written(database_url) == {order(1): [1, 2, 3], order(2): [1, 2], order(3): [1, 2]}


def test_a_stream_that_should_exist_is_not_created(database_url: str) -> None:
    """A version of a stream that does not exist is a conflict, not a new stream."""
    with psycopg.connect(database_url) as connection:
        with pytest.raises(ConcurrencyError) as caught:
            store.append_many(connection, [Append(ORDER, [Placed()]), Append(OTHER, [Placed()], expected=1)])
        connection.commit()

    assert (caught.value.stream, caught.value.actual) == (OTHER, 0)
    assert written(database_url) == {}


def test_two_calls_over_the_same_streams_do_not_deadlock(database_url: str) -> None:
    """Streams are locked in one order, independent of the order of the call."""
    streams = [order(n) for n in "aB-Z_zé~0"]

    def work(seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(database_url) as connection:
            for n in range(40):
                chance.shuffle(streams_of[seed])
                store.append_many(connection, [Append(stream, [Placed(n)]) for stream in streams_of[seed]])
                connection.commit()

    streams_of = {seed: list(streams) for seed in range(4)}
    threads = [threading.Thread(target=work, args=(seed,)) for seed in streams_of]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {stream: len(numbers) for stream, numbers in written(database_url).items()} == dict.fromkeys(streams, 160)


def test_a_call_waits_for_an_open_one_and_then_sees_its_version(database_url: str) -> None:
    """The stream's row is the lock: the second expectation is compared with the first one's committed version."""
    outcome: list[object] = []

    def second() -> None:
        with psycopg.connect(database_url, application_name="second") as connection:
            try:
                outcome.append(
                    store.append_many(connection, [Append(OTHER, [Placed()]), Append(ORDER, [Placed()], expected=1)])
                )
            except ConcurrencyError as error:
                outcome.append(error.actual)

    with psycopg.connect(database_url) as connection, psycopg.connect(database_url, autocommit=True) as watch:
        store.append(connection, ORDER, Placed(1))
        connection.commit()
        store.append(connection, ORDER, Placed(2))
        thread = threading.Thread(target=second)
        thread.start()
        wait_until(
            lambda: watch.execute(
                "select 1 from pg_stat_activity where application_name = 'second' and wait_event_type = 'Lock'"
            ).fetchone()
        )
        connection.commit()
        thread.join()

    assert outcome == [2]
    assert written(database_url) == {ORDER: [1, 2]}


@pytest.mark.parametrize(
    ("appends", "says"),
    [
        ([], "nothing to append"),
        ([Append(ORDER, [])], "nothing to append to 'order-1'"),
        ([Append(ORDER, [Placed()]), Append("order-1", [Placed()])], "names stream 'order-1' 2 times"),
        ([(ORDER, [Placed()])], "append_many takes Append"),
    ],
)
def test_bad_calls_are_refused(connection: Connection, appends: list[Append], says: str) -> None:
    """Before any SQL."""
    with pytest.raises(InvalidEvent, match=says):
        store.append_many(connection, appends)

    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_one_statement_is_one_round_trip(connection: Connection) -> None:
    """Any number of events and streams without expectations costs one statement."""
    connection.execute("select 1")
    sent: list[object] = []
    wait = connection.wait

    def counted(generator: Generator[Any, Any, object], interval: float = 0.1) -> object:
        sent.append(generator)
        return wait(generator, interval)

    connection.wait = counted  # type: ignore[method-assign, assignment]
    store.append_many(connection, [Append(shop.stream("cart", n), [Placed(), Placed()]) for n in range(20)])
    store.append(connection, ORDER, *[Placed()] * 20, expected=NO_STREAM)
    store.append(connection, ORDER, Placed(), expected=20)

    assert len(sent) == 3
