"""Inline projections on a caller's session, whose settings change how PostgreSQL reads and quotes what it is sent."""

from typing import Any

import msgspec
import psycopg
import pytest
import sqlalchemy as sa

from eventkit import Append, EventStore, Inline
from eventkit.projection.define.table import TableProjection
from tests.projection.shop import Ordered, apply, letters, rows, sent, shop, totals

SETTINGS = ["array_nulls = off", "standard_conforming_strings = off", "quote_all_identifiers = on"]
STRANGE = b"\\x41\x00\xff\"'"
THINGS = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("customer", sa.Text, primary_key=True),
    sa.Column("note", sa.Text),
    sa.Column("amount", sa.Integer),
    sa.Column("data", sa.LargeBinary),
    sa.Column("never", sa.Text),
)
CREATE = "create table things (customer text primary key, note text, amount int, data bytea, never text)"


def things() -> TableProjection:
    """Return a read model with columns that are null in some rows, or in all."""
    projection = TableProjection("things", shop, table=THINGS, key="customer")

    @projection.on(Ordered)
    def ordered(row: Any, event: Ordered) -> None:  # noqa: ANN401 a class made for the table
        row.note = "null" if event.amount % 2 else None
        row.amount = event.amount if event.amount % 3 else None
        row.data = STRANGE if event.amount % 2 else None

    return projection


def kept(url: str) -> list[tuple[Any, ...]]:
    """Return the rows, with the bytes as they are."""
    return [(key, note, amount, data and bytes(data), none) for key, note, amount, data, none in rows(url, QUERY)]


QUERY = "select customer, note, amount, data, never from things order by 1"


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("count", [1, 4])
def test_rows_with_nulls_and_bytes_are_kept_as_given(url: str, setting: str, count: int) -> None:
    """New and changed, one row as several in one statement; a text that is `null` stays a text."""
    store = EventStore(shop, inline=Inline(things()))
    with psycopg.connect(url) as session:
        session.execute(f"{CREATE}; set {setting}")
        for turn in range(2):
            events = [(f"c{n}", n + turn) for n in range(count)]
            store.append_many(session, [Append(f"order-{who}", [Ordered(who, amount)]) for who, amount in events])

    assert kept(url) == [
        (who, "null" if n % 2 else None, n if n % 3 else None, STRANGE if n % 2 else None, None)
        for who, n in ((f"c{n}", n + 1) for n in range(count))
    ]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_guard_beside_the_events_changes_no_read_model(url: str, setting: str) -> None:
    """A stream without new events is in the statement, and has no last event."""
    store = EventStore(shop, inline=Inline(totals()))
    with psycopg.connect(url) as session:
        session.execute(f"set {setting}")
        store.append(session, "order-1", Ordered("ann", 1))
        both = [Append("order-2", [Ordered("bob", 2)]), Append("order-3", [Ordered("bob", 3)])]
        store.append_many(session, both, guards={"order-1": 1})

    assert rows(url) == [("ann", 1, 1), ("bob", 2, 5)]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_letter_behind_a_parked_stream_is_the_event(url: str, setting: str) -> None:
    """It is written by the caller's session, and applied as it was appended."""
    store = EventStore(shop, inline=Inline(totals()))
    with psycopg.connect(url) as session:
        EventStore(shop).append(session, "order-1", Ordered("eve", -1))
        session.commit()
        apply(url, sent(url, "order-1"))
        session.execute(f"set {setting}")
        store.append(session, "order-1", Ordered("ann", 2))
    (letter,) = rows(url, "select data, detail from eventkit.dead_letters where cause = 'behind'")

    assert [cause for _, _, cause in letters(url)] == ["failed", "behind"]
    assert msgspec.json.decode(letter[0]) == {"customer": "ann", "amount": 2}
    assert letter[1] is None


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("first", ["inline", "projector"])
def test_a_projection_is_the_same_inline_and_in_a_projector(url: str, setting: str, first: str) -> None:
    """Its tables have one name, whichever session has registered it."""
    store = EventStore(shop, inline=Inline(totals()))
    if first == "projector":
        apply(url)
    with psycopg.connect(url) as session:
        session.execute(f"set {setting}")
        store.append(session, "order-1", Ordered("ann", 1))
    apply(url, sent(url, "order-1"))

    assert rows(url) == [("ann", 1, 1)]
    assert rows(url, "select tables from eventkit.projections") == [(["public.totals"],)]
