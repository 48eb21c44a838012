"""The rows of a batch are taken and written in parts where they are large; the result is that of one part."""

import random
from collections import defaultdict
from typing import Any, Protocol

import psycopg
import pytest
from sqlalchemy import JSON, Column, Integer, MetaData, String, Table, Text

from eventkit.projection.define import fold, row_sizes
from eventkit.projection.define.row_sizes import MAX_BYTES, RowSizes
from eventkit.projection.define.rows import DELETE
from eventkit.projection.define.table import TableProjection
from tests.projection.shop import Ordered, apply, message, rows, shop

BOOKS = Table(
    "books", MetaData(), Column("customer", Text, primary_key=True), Column("pages", Text, nullable=False, default="")
)
CREATE = "create table books (customer text primary key, pages text not null)"


class Book(Protocol):
    """A row: the amounts of its customer's orders, one after another."""

    customer: str
    pages: str


def books(times: int = 1) -> TableProjection:
    """Return a projection: an amount is written so many times, 0 deletes the row."""
    projection = TableProjection("books", shop, table=BOOKS, key="customer")

    @projection.on(Ordered)
    def ordered(row: Book, event: Ordered) -> object:
        if event.amount == 0:
            return DELETE
        row.pages += str(event.amount) * times
        return None

    return projection


def written(projection: TableProjection, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each write adds the bytes of its rows."""
    found: list[int] = []
    write = projection.rows.write

    def measured(connection: Any, shadow: str | None, taken: Any) -> set[Any]:  # noqa: ANN401 the method's
        found.append(sum(len(row.pages) for row in taken.rows.values() if row is not None))
        return write(connection, shadow, taken)

    monkeypatch.setattr(projection.rows, "write", measured)
    return found


@pytest.fixture
def url(database_url: str) -> str:
    """A database with the table."""
    run(database_url, CREATE)
    return database_url


def run(url: str, statement: str) -> None:
    """Run a statement."""
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize("known", [64, row_sizes._MAX_ROOM], ids=["of a new process", "after small rows"])
def test_small_events_that_make_large_rows_are_written_in_parts(
    url: str, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    """A batch of 300 small events makes 30 MB of rows: never much more than the bound is in memory."""
    projection = books(100_000)
    parts = written(projection, monkeypatch)
    projection.rows.sizes.room = known

    apply(url, [message(f"order-{n}", 1, Ordered(f"c{n}", 1)) for n in range(300)], projection=projection)

    assert rows(url, "select count(*), min(length(pages)), max(length(pages)) from books") == [(300, 100_000, 100_000)]
    assert max(parts) < 2 * MAX_BYTES


def test_large_rows_are_read_in_parts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has just started finds rows of any size."""
    run(url, "insert into books select 'c' || n, repeat('x', 200000) from generate_series(1, 300) n")
    projection = books()
    parts = written(projection, monkeypatch)

    apply(url, [message(f"order-{n}", 1, Ordered(f"c{n}", 1)) for n in range(1, 301)], projection=projection)

    assert rows(url, "select count(*) from books where length(pages) = 200001") == [(300,)]
    assert max(parts) < 2 * MAX_BYTES


@pytest.mark.parametrize("seed", range(3))
def test_a_fold_in_parts_is_the_fold(url: str, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Rows that grow, are deleted and begin again, in parts of any size."""
    chance = random.Random(seed)
    for module in (fold, row_sizes):
        monkeypatch.setattr(module, "MAX_BYTES", chance.choice([1, 20, 500]))
    monkeypatch.setattr(fold, "_MEASURED", chance.choice([1, 3, 64]))
    monkeypatch.setattr(row_sizes, "_FIRST_ROOM", chance.choice([1, 5, 64]))
    projection = books()
    expected: dict[str, str] = {}
    versions: dict[int, int] = defaultdict(int)
    for _ in range(4):
        batch = []
        for _ in range(120):
            stream, customer, amount = chance.randrange(20), f"c{chance.randrange(30)}", chance.randrange(6)
            versions[stream] += 1
            batch.append(message(f"order-{stream}", versions[stream], Ordered(f"{customer}-{stream}", amount)))
            key = f"{customer}-{stream}"
            expected[key] = expected.get(key, "") + str(amount) if amount else ""
            if not amount:
                del expected[key]

        apply(url, batch, projection=projection)

        assert dict(rows(url, "select customer, pages from books")) == expected


def test_the_room_follows_the_rows() -> None:
    """It doubles while rows are small, and falls at once where they are large; fixed columns are not measured."""
    sizes = RowSizes([("text", Column("text", Text)), ("other", Column("other", JSON))])

    class Row:
        text: str | None = None
        other: object = None

    def after(text: str | None, other: object = None, *, times: int = 1) -> int:
        row = Row()
        row.text, row.other = text, other
        for _ in range(times):
            sizes.measure([row, None] * 8)
        return sizes.room

    assert after("x", times=30) == row_sizes._MAX_ROOM
    assert after("x" * 1_000_000) == 8
    assert after(None, {"a": ["x" * 100_000]}, times=4) <= 80
    assert after("x" * 100_000_000) == 1
    assert RowSizes([("n", Column("n", Integer)), ("s", Column("s", String(20)))]).room == row_sizes._MAX_ROOM
