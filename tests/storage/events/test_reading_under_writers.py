"""Reading everything beside writers: a position that may still be filled is never passed, a rolled-back one is."""

import random
import threading
import uuid
from collections.abc import Callable
from itertools import islice

import psycopg
import pytest
from psycopg import Connection

from eventkit.errors import AppendDeadlock
from eventkit.storage.events.event_store import Append
from eventkit.storage.events.read import LogForwards, ReadSql, Window
from tests.storage.shop import Placed, order, store, written
from tests.waiting import wait_until

Connect = Callable[[], Connection]


@pytest.fixture
def connect(database_url: str) -> Connect:
    """Open one more connection."""
    return lambda: psycopg.connect(database_url)


def numbers(connection: Connection, after: int = 0, batch: int = 1000) -> list[int]:
    """Read everything."""
    return [envelope.event.n for envelope in store.read_all(connection, after=after, batch=batch)]


@pytest.mark.both_postgres
@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_reading_ends_before_a_position_that_may_still_be_filled(connect: Connect, batch: int) -> None:
    """An open transaction holds back later events; when it ends, either way, reading continues."""
    for end in ("commit", "rollback"):
        with connect() as early, connect() as late, connect() as reader:
            reader.autocommit = True
            last = max((envelope.position or 0 for envelope in store.read_all(reader)), default=0)
            store.append(late, order("a"), Placed(1))
            late.commit()
            store.append(early, order("b"), Placed(2))
            store.append(late, order("a"), Placed(3))
            late.commit()
            assert numbers(reader, last, batch) == [1]
            getattr(early, end)()
            assert numbers(reader, last, batch) == ([1, 2, 3] if end == "commit" else [1, 3])


def test_a_prepared_transaction_holds_back_too(database_url: str, connect: Connect) -> None:
    """Forgotten or not: it may still commit."""
    with connect() as connection, connect() as reader:
        reader.autocommit = True
        connection.tpc_begin(connection.xid(1, uuid.uuid4().hex, "test"))
        store.append(connection, order("a"), Placed(1))
        connection.tpc_prepare()
        with connect() as other:
            store.append(other, order("b"), Placed(2))
        assert numbers(reader) == []
        connection.tpc_commit()
        assert numbers(reader) == [1, 2]
    assert written(database_url)


def test_the_readers_own_transaction_holds_nothing_back(connect: Connect) -> None:
    """Its own events are visible to it, its own rolled-back ones are gone."""
    with connect() as connection:
        store.append(connection, order("a"), Placed(1))
        with connection.transaction() as nested:
            store.append(connection, order("a"), Placed(2))
            raise psycopg.Rollback(nested)
        store.append(connection, order("b"), Placed(3))

        assert numbers(connection) == [1, 3]


def test_an_owner_that_commits_between_snapshot_and_list_is_not_taken_for_a_rollback() -> None:
    """It is in no list any more, but the rows were read before it committed: they are read once more."""

    def row(position: int) -> tuple[object, ...]:
        return (position, "1", "order-1", position, "id", "shop", "Placed", 1, "now", None, "{}")

    def head(holders: str) -> tuple[object, ...]:
        return (0, holders, "read committed", 0, *[None] * 7)

    pages = LogForwards(ReadSql("eventkit"), Window(0, None, 10))

    assert [r[0] for r in pages.take([head("3/7"), row(1), row(3)])] == [1]  # 3/7 owns 2
    assert pages.take([head("")]) == []  # ended since, but after this snapshot
    assert not pages.over
    assert [r[0] for r in pages.take([head(""), row(2)])] == [2, 3]
    assert pages.over


def test_an_owner_that_ended_before_the_list_is_read_once_more() -> None:
    """An empty list proves nothing about its own snapshot: the commit may lie between the two."""

    def head(holders: str) -> tuple[object, ...]:
        return (0, holders, "read committed", 0, *[None] * 7)

    pages = LogForwards(ReadSql("eventkit"), Window(0, None, 10))

    first, second = ((position, "1", *[None] * 9) for position in (1, 2))
    assert pages.take([head(""), second]) == []
    assert not pages.over
    assert pages.take([head("4/1"), first]) == [first, second]


def transaction(connection: Connection, chance: random.Random, number: int) -> None:
    """Append in one of the ways that services do: early ids, several streams, savepoints, late ends, rollbacks."""
    if chance.random() < 0.3:
        connection.execute("select pg_current_xact_id()")
    count = chance.choice((1, 1, 30))
    appends = [Append(order(key), [Placed(number)] * count) for key in chance.sample(range(20), 2)]
    store.append_many(connection, appends)
    if chance.random() < 0.3:
        with connection.transaction() as nested:
            store.append(connection, order(chance.randrange(20)), Placed(number))
            if chance.random() < 0.5:
                raise psycopg.Rollback(nested)
    if chance.random() < 0.2:
        connection.execute("select pg_sleep(0.01)")
    (connection.rollback if chance.random() < 0.1 else connection.commit)()


@pytest.mark.both_postgres
def test_following_by_the_last_position_loses_and_reorders_nothing(database_url: str, connect: Connect) -> None:
    """Six writers; a reader that continues from its last position, in small and large batches."""
    seen: list[tuple[str, int, int]] = []

    def write(me: int) -> None:
        chance = random.Random(me)
        with connect() as connection:
            connection.execute("set deadlock_timeout = '50ms'")
            connection.commit()
            for n in range(120):
                try:
                    transaction(connection, chance, me * 1000 + n)
                except AppendDeadlock:  # two calls in one transaction lock out of order: a rollback more
                    connection.rollback()

    writers = [threading.Thread(target=write, args=(me,)) for me in range(6)]
    for writer in writers:
        writer.start()

    def follow() -> bool:
        over = not any(writer.is_alive() for writer in writers)
        with connect() as connection:
            for batch, most in ((1, 50), (7, 300), (100, None)):  # the last reads to the end
                after = seen[-1][2] if seen else 0
                read = islice(store.read_all(connection, after=after, batch=batch), most)
                seen.extend((envelope.stream, envelope.version, envelope.position or 0) for envelope in read)
                connection.commit()
        return over

    wait_until(follow, timeout=120, what="the writers to end")

    by_stream: dict[str, list[int]] = {}
    for stream, version, _ in seen:
        by_stream.setdefault(stream, []).append(version)
    positions = [position for *_, position in seen]
    assert positions == sorted(set(positions))
    assert by_stream == {stream: list(range(1, len(them) + 1)) for stream, them in written(database_url).items()}
