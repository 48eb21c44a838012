"""Table projections: keys, defaults, types, and declarations that cannot work."""

import enum
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Protocol

import pytest
from sqlalchemy import (
    ARRAY,
    Column,
    Computed,
    Date,
    DateTime,
    Enum,
    Identity,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Uuid,
    create_engine,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from eventkit.domain.envelope import Envelope
from eventkit.errors import ProjectionError, UnknownEventType
from eventkit.projection.define.rows import DELETE
from eventkit.projection.define.table import TableProjection
from tests.projection.shop import TOTALS, Ordered, Total, apply, letters, message, orders, rows, shop


class Size(enum.Enum):
    """A column's type of its own."""

    SMALL = 1
    LARGE = 2


@shop.event
@dataclass(frozen=True)
class Flown:
    """A flight of a day."""

    origin: str
    day: date
    delay: Decimal


BOARD = Table(
    "board",
    MetaData(schema="read"),
    Column("origin", String(3), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("flights", Integer, nullable=False, default=0),
    Column("delay", Numeric(10, 2), nullable=False, default=Decimal(0)),
    Column("token", Uuid, nullable=False, default=uuid.uuid4),
    Column("size", Enum(Size, name="size", schema="read"), nullable=False, default=Size.SMALL),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("grid", ARRAY(Integer, dimensions=2)),
    Column("more", JSONB, nullable=False, server_default=text("'{}'")),
    Column("seen", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("number", Integer, Identity(always=True)),
    Column("double", Integer, Computed("flights * 2", persisted=True)),
    Column("order", Text, key="order_"),
)


class Board(Protocol):
    """A row of it."""

    origin: str
    day: date
    flights: int
    delay: Decimal | int
    size: Size
    tags: list[str]
    grid: list[list[int]] | None
    more: dict[str, Any]
    seen: datetime
    order_: str | None


@pytest.fixture
def board_url(database_url: str) -> str:
    """A database with a table of many types."""
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("create schema read"))
        BOARD.metadata.create_all(connection)
    engine.dispose()
    return database_url


def test_a_key_may_be_several_columns_and_rows_keep_their_types(board_url: str) -> None:
    """Defaults of the table make new rows; enums, arrays, JSON and decimals go in and come out as they are."""
    board = TableProjection("board", shop, table=BOARD, key=("origin", "day"))

    @board.on(Flown)
    def flown(row: Board, event: Flown, envelope: Envelope[Flown]) -> None:
        row.flights += 1
        row.delay += event.delay
        row.size = Size.LARGE if row.flights > 1 else row.size
        row.tags = [*row.tags, 'a "quoted", one']
        row.grid = [[1, 2], [3, row.flights]]
        row.more = {**row.more, str(envelope.version): None}
        row.seen = max(row.seen, envelope.recorded_at)
        row.order_ = "{}"

    flights = [message("flight-1", version, Flown("JFK", date(2013, 1, 1), Decimal("1.25"))) for version in (1, 2)]
    apply(board_url, flights, [message("flight-2", 1, Flown("EWR", date(2013, 1, 1), Decimal(1)))], projection=board)

    found = rows(
        board_url,
        'select origin, flights, delay, size, tags, grid, more, number, double, "order" from read.board order by 1',
    )
    assert found[1] == (
        "JFK",
        2,
        Decimal("2.50"),
        "LARGE",
        ['a "quoted", one'] * 2,
        [[1, 2], [3, 2]],
        {"1": None, "2": None},
        1,
        4,
        "{}",
    )
    assert found[0][:4] == ("EWR", 1, Decimal("1.00"), "SMALL")


def test_a_text_that_is_too_long_for_its_column_is_not_cut(board_url: str) -> None:
    """It parks its stream, as any value the table refuses."""
    board = TableProjection("board", shop, table=BOARD, key=("origin", "day"))
    board.on(Flown)(lambda _row, _event: None)

    apply(board_url, [message("flight-1", 1, Flown("LONG", date(2013, 1, 1), Decimal(1)))], projection=board)

    assert rows(board_url, "select origin from read.board") == []
    assert letters(board_url) == [("flight-1", 1, "failed")]


def test_a_batch_may_set_numbers_of_several_types_in_one_column(board_url: str) -> None:
    """An int beside a Decimal is a number like any other."""
    board = TableProjection("board", shop, table=BOARD, key=("origin", "day"))

    @board.on(Flown)
    def flown(row: Board, event: Flown) -> None:
        row.delay = int(event.delay) if event.origin == "JFK" else event.delay
        row.flights = event.origin == "JFK" or 7

    flights = [message(f"flight-{o}", 1, Flown(o, date(2013, 1, 1), Decimal(2))) for o in ("JFK", "EWR")]
    apply(board_url, flights, projection=board)

    assert rows(board_url, "select delay, flights from read.board order by 2") == [(2, 1), (2, 7)]
    assert letters(board_url) == []


def test_a_deleted_row_starts_again_with_the_databases_defaults(board_url: str) -> None:
    """Also those that only the database knows."""
    board = TableProjection("board", shop, table=BOARD, key=("origin", "day"))

    @board.on(Flown)
    def flown(row: Board, event: Flown) -> object:
        row.flights += 1
        row.tags = ["x"]
        return DELETE if event.delay else None

    apply(
        board_url,
        [message("flight-1", v, Flown("JFK", date(2013, 1, 1), Decimal(d))) for v, d in ((1, 0), (2, 1), (3, 0))],
        projection=board,
    )

    assert rows(board_url, "select flights, tags from read.board") == [(1, ["x"])]


def test_a_key_may_be_made_of_the_event_and_of_the_envelope(url: str) -> None:
    """`key=` takes the event, or the event and its envelope."""
    projection = TableProjection("totals", shop, table=TOTALS, key="customer")

    @projection.on(Ordered, key=lambda event, envelope: f"{envelope.stream.category} {event.customer}")
    def ordered(row: Total, _event: Ordered) -> None:
        row.orders += 1

    apply(url, orders("order-1", 2), projection=projection)

    assert rows(url, "select customer, orders from totals") == [("order ann", 2)]


def test_the_envelope_says_where_and_when(url: str) -> None:
    """Handlers that take it get times, versions and metadata."""
    seen: list[Envelope[Ordered]] = []
    projection = TableProjection("totals", shop, table=TOTALS, key="customer")
    projection.on(Ordered)(lambda _row, _event, envelope: seen.append(envelope))

    apply(url, [message("order-1", 1, Ordered("ann", 1), ce_correlationid="story")], projection=projection)

    assert (seen[0].stream, seen[0].version, seen[0].metadata.correlation_id) == ("order-1", 1, "story")
    assert seen[0].recorded_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_handler_that_changes_its_rows_key_fails(url: str) -> None:
    """The change would go into another row."""
    projection = TableProjection("totals", shop, table=TOTALS, key="customer")

    @projection.on(Ordered)
    def ordered(row: Total, _event: Ordered) -> None:
        row.customer = "bob"

    apply(url, orders("order-1", 1), projection=projection)

    assert letters(url) == [("order-1", 1, "failed")]


def test_a_misspelt_column_fails(url: str) -> None:
    """A row has its columns and nothing else."""
    projection = TableProjection("totals", shop, table=TOTALS, key="customer")

    @projection.on(Ordered)
    def ordered(row: Total, _event: Ordered) -> None:
        row.oders = 1  # type: ignore[attr-defined]

    apply(url, orders("order-1", 1), projection=projection)

    assert letters(url) == [("order-1", 1, "failed")]


def test_declarations_that_cannot_work_are_refused_with_the_reason() -> None:
    """At import, not at the first event."""
    plain = Table(
        "t", MetaData(), Column("id", Text, primary_key=True), Column("n", Integer, nullable=False), Column("c", Text)
    )

    with pytest.raises(ProjectionError, match="no column 'nix'"):
        TableProjection("t", shop, table=TOTALS, key="nix")
    with pytest.raises(ProjectionError, match="needs to be its primary key, or a unique constraint"):
        TableProjection("t", shop, table=TOTALS, key="orders")
    with pytest.raises(ProjectionError, match="'n' of table 't' is NOT NULL and has no default"):
        TableProjection("t", shop, table=plain, key="id")
    with pytest.raises(ProjectionError, match="projection name 'T t'"):
        TableProjection("T t", shop, table=TOTALS, key="customer")


def test_handlers_that_cannot_work_are_refused_with_the_reason() -> None:
    """A missing key field, a second handler, a wrong number of arguments, an unknown class."""
    totals = TableProjection("t", shop, table=TOTALS, key="customer")
    totals.on(Ordered)(lambda _row, _event: None)

    with pytest.raises(ProjectionError, match="Flown has no field 'customer'"):
        totals.on(Flown)(lambda _row, _event: None)
    with pytest.raises(ProjectionError, match="two handlers for Ordered"):
        totals.on(Ordered)(lambda _row, _event: None)
    with pytest.raises(ProjectionError, match="takes 1 arguments"):
        totals.on(Flown, key=lambda _event: "x")(lambda _row: None)
    with pytest.raises(UnknownEventType):
        totals.on(int, key=lambda _event: "x")(lambda _row, _event: None)
