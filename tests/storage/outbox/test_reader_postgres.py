"""The reader on a real PostgreSQL, in the moments that decide: each transaction is held by hand."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from eventkit.storage.outbox.gap_reader import GapReader, Row
from eventkit.storage.outbox.outbox import Outbox, Scope
from tests.faults.shop import note, reading
from tests.waiting import wait_until

Connection = psycopg.Connection[Any]


@pytest.fixture
def connect(database_url: str) -> Iterator[Callable[[], Connection]]:
    """Open connections of a service, closed at the end."""
    opened: list[Connection] = []

    def one() -> Connection:
        opened.append(psycopg.connect(database_url))
        return opened[-1]

    yield one
    for connection in opened:
        connection.close()


@pytest.fixture
def reader(database_url: str) -> Iterator[GapReader]:
    """A reader that has started on an empty outbox."""
    with reading(database_url) as connection:
        reader = GapReader(Outbox(connection, "eventkit"))
        reader.start_pending()
        yield reader


def names(rows: list[Row]) -> list[str]:
    """Return rows as `stream version`."""
    return [f"{row[2]} {row[3]}" for row in rows]


def asleep(reader: GapReader) -> bool:
    """Read on, and return whether every gap sleeps."""
    reader.read()
    return reader.waiting > 0 and not any(reader._gaps.due())


@pytest.mark.both_postgres
def test_a_prepared_transaction_is_read_in_order_during_its_commit(
    reader: GapReader, connect: Callable[[], Connection]
) -> None:
    """With files to remove, COMMIT PREPARED shows its rows long before it releases its lock; nothing overtakes."""
    late, others, finisher = connect(), connect(), connect()
    finisher.autocommit = others.autocommit = True
    others.execute("do $$ begin for i in 1..500 loop execute 'create table t' || i || '(x text)'; end loop; end $$")
    note(late, 1)
    late.execute("do $$ begin for i in 1..500 loop execute 'drop table t' || i; end loop; end $$")
    with others.transaction():
        note(others, 2)
    late.execute("prepare transaction 'late'")
    wait_until(lambda: asleep(reader), what="the gap to sleep")

    finishing = threading.Thread(target=lambda: finisher.execute("commit prepared 'late'"))
    finishing.start()
    wait_until(lambda: others.execute("select from eventkit.events where stream = 'order-1'").fetchall())
    with others.transaction():
        note(others, 1)
    rows = reader.read()
    finishing.join()

    assert names(rows) == ["order-1 1", "order-1 2"]


@pytest.mark.both_postgres
def test_a_transaction_between_prepare_and_its_end_stays_a_holder(
    reader: GapReader, connect: Callable[[], Connection]
) -> None:
    """A transaction that is prepared, and finished much later, is neither dropped nor waited for by others."""
    late, others, finisher = connect(), connect(), connect()
    finisher.autocommit = True
    note(late, 1)
    note(others, 2)
    others.commit()
    late.execute("prepare transaction 'late'")

    first = [name for _ in range(20) for name in names(reader.read())]
    finisher.execute("commit prepared 'late'")
    then = names(reader.read())

    assert first == ["order-2 1"]
    assert then == ["order-1 1"]


def test_a_backlog_is_read_in_pages_without_tearing_a_transaction(
    database_url: str, connect: Callable[[], Connection]
) -> None:
    """A transaction that commits while a start reads its backlog page by page arrives in order."""
    late, others = connect(), connect()
    note(late, 1)
    for stream in range(2, 12):
        note(others, stream)
        note(late, 1)
        others.commit()
    flight: set[int] = set()
    with reading(database_url) as connection:
        reader = GapReader(Outbox(connection, "eventkit"), limit=3)
        reader.start_pending()

        rows: list[Row] = []
        for turn in range(20):
            more = reader.read(lambda: flight)
            flight.update(row[0] for row in more)
            rows += more
            if turn == 0:
                late.commit()

    versions = [int(row[3]) for row in rows if row[2] == "order-1"]
    assert versions == list(range(1, 12))
    assert len(rows) == 21


@pytest.mark.parametrize("others", [0, 500, 1_000], ids=["few are parked", "many are parked", "more than are held"])
def test_a_parked_stream_is_read_up_to_its_parked_event(
    database_url: str, connect: Callable[[], Connection], others: int
) -> None:
    """Events below go out, the parked event and those behind it wait; other streams and held topics are as ever."""
    writer = connect()
    note(writer, 1, 2)
    last = note(writer, 1)
    note(writer, 1)
    note(writer, 2)
    letters = {"order-1": last.position} | {f"order-it's {number} %": 1 for number in range(others)}
    writer.cursor().executemany(
        "insert into eventkit.dead_letters (parked_by, stream, version, position, event_id, type, cause, error,"
        " attempts) values ('relay', %s, 1, %s, gen_random_uuid(), 'Noted', 'refused', '', 1)",
        list(letters.items()),
    )
    writer.commit()
    with reading(database_url) as connection:
        parked = Outbox(connection, "eventkit").parked()
        assert (len(parked.streams), parked.more) == (others + 1, others == 1_000)
        reader = GapReader(Outbox(connection, "eventkit", scope=Scope(parked=parked)))
        reader.start_pending()
        rows = reader.read()
        held = GapReader(Outbox(connection, "eventkit", scope=Scope(parked=parked, held=["shop.order"])))
        held.start_pending()

        assert names(rows) == ["order-1 1", "order-1 2", "order-2 1"]
        assert held.read() == []
