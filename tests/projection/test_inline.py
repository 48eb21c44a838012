"""Inline projections: the read model changes in the append's own transaction, or neither does."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from eventkit import Append, Envelope, EventStore, Handlers, Inline, SqlProjection
from eventkit.errors import (
    ConcurrencyError,
    ConfigurationError,
    ProjectionError,
    UnsupportedConnection,
    VersionMismatch,
)
from eventkit.projection.define.table import TableProjection
from eventkit.storage.projections.registry import ProjectionRegistry
from tests.projection.apply.test_personal import people
from tests.projection.shop import (
    CREATE,
    Left,
    Noted,
    Ordered,
    Total,
    apply,
    checkpoints,
    letters,
    orders,
    projector,
    rows,
    sent,
    shop,
    totals,
)
from tests.projection.shop import TOTALS as TABLE
from tests.storage.people import ADA, CANARY, MASTERS, REGISTERED, crm
from tests.waiting import wait_until

SHOP = EventStore(shop, inline=Inline(totals()))
PLAIN = EventStore(shop)
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
TOTALS = "select customer, orders, amount from totals order by 1"


@contextmanager
def engine(url: str) -> Iterator[sa.Engine]:
    """Return an engine for a database."""
    made = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    yield made
    made.dispose()


def notes(log: str = "notes") -> SqlProjection:
    """Return an SQL projection that writes a line an event."""
    projection = SqlProjection(log, shop, tables=["notes"])

    @projection.on(Noted)
    def noted(connection: sa.Connection, event: Noted, envelope: Envelope[Noted]) -> None:
        at = envelope.recorded_at.utcoffset()
        zone = connection.scalar(sa.text("select current_setting('TimeZone')"))
        connection.execute(sa.text("insert into notes values (:text)"), {"text": f"{event.text} {at} {zone}"})

    return projection


def test_the_read_model_is_there_before_the_commit(url: str) -> None:
    """The caller reads its own write in its own transaction; after it, everybody does."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        SHOP.append(connection, "order-1", Ordered("ann", 1), Ordered("ann", 2), Noted())
        SHOP.append_many(connection, [Append("order-2", [Ordered("bob", 5)]), Append("order-1", [Ordered("ann", 4)])])

        assert connection.execute(TOTALS).fetchall()[0] == {"customer": "ann", "orders": 3, "amount": 7}
        assert rows(url) == []
    assert rows(url) == [("ann", 3, 7), ("bob", 1, 5)]
    assert checkpoints(url) == {"order-1": (4, False), "order-2": (1, False)}


def test_the_read_model_is_rolled_back_with_the_append(url: str) -> None:
    """To a savepoint of the caller's, or all of it."""
    with psycopg.connect(url) as connection:
        SHOP.append(connection, "order-1", Ordered("ann", 1))
        with connection.transaction(force_rollback=True):
            SHOP.append(connection, "order-1", Left("ann"))
        SHOP.append(connection, "order-1", Ordered("ann", 1))
        connection.commit()
        SHOP.append(connection, "order-1", Ordered("ann", 1))
        connection.rollback()

    assert rows(url) == [("ann", 2, 2)]
    assert checkpoints(url) == {"order-1": (2, False)}


def test_a_handler_that_fails_takes_the_append_back_and_nothing_else(url: str) -> None:
    """The events before it in the call are gone too; the transaction can continue and commit."""
    with psycopg.connect(url) as connection:
        SHOP.append(connection, "order-1", Ordered("ann", 1))
        with pytest.raises(ValueError, match="eve ordered for -1") as failed:
            SHOP.append(connection, "order-2", Ordered("ann", 1), Ordered("eve", -1))
        assert "inline projection 'totals' failed" in failed.value.__notes__[0]
        SHOP.append(connection, "order-2", Ordered("bob", 1))

    assert rows(url) == [("ann", 1, 1), ("bob", 1, 1)]
    assert [dict(item.headers)["ce_streamversion"] for item in sent(url, "order-2")] == ["1"]


def test_a_database_error_of_a_handler_leaves_the_transaction_usable(url: str) -> None:
    """A table that is missing fails the append, and the caller's rows can still be committed."""
    store = EventStore(shop, inline=Inline(notes()))
    with engine(url) as made, made.begin() as connection:
        with pytest.raises(sa.exc.ProgrammingError, match="notes"):
            store.append(connection, "note-1", Noted("lost"))
        PLAIN.append(connection, "note-1", Noted("kept"))

    assert len(sent(url, "note-1")) == 1
    assert checkpoints(url) == {}


def test_writers_of_a_shared_row_lose_nothing(url: str) -> None:
    """The second waits for the first one's commit and folds its result, also where the row is new."""
    with psycopg.connect(url) as first, psycopg.connect(url) as second:
        SHOP.append(first, "order-1", Ordered("ann", 1))
        other = threading.Thread(target=SHOP.append, args=(second, "order-2", Ordered("ann", 1)))
        other.start()
        wait_until(lambda: rows(url, WAITING) == [(1,)], timeout=60)
        SHOP.append(first, "order-1", Ordered("ann", 1))
        first.commit()
        other.join()

    assert rows(url) == [("ann", 3, 3)]


def test_writers_beside_a_projector_lose_and_repeat_nothing(url: str) -> None:
    """Several streams and rows a transaction, some rolled back, and a projector that applies committed events."""

    def write(seed: int) -> None:
        dice = random.Random(seed)
        with psycopg.connect(url) as connection:
            for turn in range(25):
                store = dice.choice([SHOP, SHOP, PLAIN])
                with connection.transaction(force_rollback=turn % 5 == 4):
                    customers = dice.choices("abc", k=3)
                    store.append_many(connection, [Append(f"order-{n}", [Ordered(customers[n], 1)]) for n in range(3)])

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        apply(url, *(sent(url, f"order-{n}") for n in range(3)))
    apply(url, *(sent(url, f"order-{n}") for n in range(3)))

    folded = rows(url, "select data->>'customer', count(*), count(*) from eventkit.events group by 1 order by 1")
    assert rows(url) == folded
    assert sum(orders for _, orders, _ in folded) == 3 * 20 * 3


def test_handlers_see_personal_data(database_url: str) -> None:
    """Opened with the store's master keys, in the append's transaction; the stored values stay sealed."""
    with psycopg.connect(database_url) as connection:
        connection.execute("create table people (stream text primary key, name text not null unique)")
        EventStore(crm, master_keys=MASTERS, inline=Inline(people())).append(connection, ADA, REGISTERED)

    assert rows(database_url, "select name from people") == [(f"Ada {CANARY}",)]
    assert rows(database_url, f"select 1 from eventkit.events where data::text like '%{CANARY}%'") == []


def test_a_projector_run_later_changes_nothing(url: str) -> None:
    """It skips events below the checkpoints, and applies events appended without the projection."""
    with psycopg.connect(url) as connection:
        SHOP.append(connection, "order-1", Ordered("ann", 1), Ordered("ann", 1))
        PLAIN.append(connection, "order-1", Ordered("ann", 1))
    running = apply(url, sent(url, "order-1"), sent(url, "order-1"))

    assert rows(url) == [("ann", 3, 3)]
    assert (running.counters.applied, running.counters.duplicates) == (1, 5)


def test_events_that_the_projection_has_not_followed_are_applied_first(url: str) -> None:
    """Introduced later, or left out by an append: its stream is applied from the store, in order, page after page."""
    with psycopg.connect(url) as connection:
        PLAIN.append(connection, "order-1", *(Ordered("ann", 1) for _ in range(12_000)))
        SHOP.append(connection, "order-1", Left("ann"), Ordered("ann", 7))

    assert rows(url) == [("ann", 1, 7)]
    assert checkpoints(url) == {"order-1": (12_002, False)}


def test_a_stream_that_was_pruned_before_the_projection_came_refuses_the_append(url: str) -> None:
    """A read model that lacks events is not made in silence."""
    with psycopg.connect(url) as connection:
        PLAIN.append(connection, "order-1", Ordered("ann", 1))
        connection.execute("alter table eventkit.events disable trigger user")  # which refuses it
        connection.execute("delete from eventkit.events")
        with pytest.raises(ProjectionError, match="versions 1 to 2 of order-1 are needed"):
            SHOP.append(connection, "order-1", Ordered("ann", 1))

    assert (rows(url), checkpoints(url)) == ([], {})


def test_another_version_refuses_the_append(url: str) -> None:
    """Two folds are not mixed; the error has the remedy, and the caller's transaction stays usable."""
    apply(url, orders("order-1", 1))
    newer = EventStore(shop, inline=Inline(totals(version=2)))
    with psycopg.connect(url) as connection:
        with pytest.raises(VersionMismatch, match="declared with version 2, live is version 1"):
            newer.append(connection, "order-2", Ordered("bob", 1))
        SHOP.append(connection, "order-3", Ordered("cid", 1))

    assert rows(url) == [("ann", 1, 1), ("cid", 1, 1)]
    assert sent(url, "order-2") == []


def test_a_parked_stream_keeps_later_events_behind_its_letter(url: str) -> None:
    """An old dead letter stops no business; the redrive applies all of it, in order."""
    with psycopg.connect(url) as connection:
        PLAIN.append(connection, "order-1", Ordered("eve", -1))
        connection.commit()
        apply(url, sent(url, "order-1"))
        PLAIN.append(connection, "order-1", Ordered("ann", 1))
        SHOP.append(connection, "order-1", Ordered("ann", 2))

    assert rows(url) == []
    assert [(version, cause) for _, version, cause in letters(url)] == [(1, "failed"), (3, "behind")]
    with projector(url, forgiving()) as running:
        assert running.redrives.retry("order-1")
    assert rows(url) == [("ann", 2, 3), ("eve", 1, -1)]


def test_a_swap_waits_for_the_callers_commit(url: str) -> None:
    """The projection's row is held until then, so no rebuild takes over between the append and its commit."""
    fences = ProjectionRegistry("eventkit")
    with psycopg.connect(url) as connection, psycopg.connect(url) as swapping:
        SHOP.append(connection, "order-1", Ordered("ann", 1))
        connection.commit()
        SHOP.append(connection, "order-1", Ordered("ann", 1))
        swapping.execute("set lock_timeout = '50ms'")
        swapping.commit()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            fences.take(swapping, "totals")
        swapping.rollback()
        connection.commit()
        assert fences.take(swapping, "totals")


def test_a_snapshot_that_is_too_old_is_a_conflict(url: str) -> None:
    """Under REPEATABLE READ a row that somebody else has changed since is a ConcurrencyError: start again."""
    with psycopg.connect(url) as connection, psycopg.connect(url) as other:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select 1 from totals")
        SHOP.append(other, "order-1", Ordered("ann", 1))
        other.commit()
        with pytest.raises(ConcurrencyError) as conflict:
            SHOP.append(connection, "order-2", Ordered("ann", 1))

    assert not conflict.value.transaction_usable
    assert rows(url) == [("ann", 1, 1)]


def test_the_same_ids_again_apply_nothing_twice(url: str) -> None:
    """A retry after an unknown commit finds its events, and its read model, as they are."""
    ids = [uuid4()]
    with psycopg.connect(url) as connection:
        for _ in range(2):
            SHOP.append(connection, "order-1", Ordered("ann", 1), ids=ids)
    assert rows(url) == [("ann", 1, 1)]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_an_sql_projection_folds_as_its_projector_would(url: str, zone: str) -> None:
    """On a Session, in UTC, under any time zone of the caller, which stays."""
    rows_of_notes(url)
    store = EventStore(shop, inline=Inline(notes(), totals()))
    with engine(url) as made, Session(made) as session:
        session.execute(sa.text(f"set time zone '{zone}'"))
        store.append(session, "note-1", Noted("hello"), Ordered("ann", 1))
        assert session.scalar(sa.text("select current_setting('TimeZone')")) == zone
        session.commit()

    assert rows(url, "select * from notes") == [("hello 0:00:00 UTC",)]
    assert rows(url) == [("ann", 1, 1)]


async def test_an_asynchronous_session_applies_both_kinds(url: str) -> None:
    """As a synchronous one does; a psycopg.AsyncConnection is refused in a sentence."""
    rows_of_notes(url)
    store = EventStore(shop, inline=Inline(notes(), totals()))
    made = create_async_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    async with AsyncSession(made) as session:
        await store.append_async(session, "note-1", Noted("hello"), Ordered("ann", 1))
        with pytest.raises(ValueError, match="eve ordered"):
            await store.append_async(session, "note-1", Ordered("eve", -1))
        await session.commit()
    await made.dispose()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        with pytest.raises(UnsupportedConnection, match=r"append: inline projections need SQLAlchemy's AsyncSession"):
            await store.append_async(connection, "note-1", Noted())

    assert rows(url) == [("ann", 1, 1)]
    assert checkpoints(url)["note-1"] == (2, False)


def test_a_projection_that_cannot_be_inline_is_refused_in_a_sentence(url: str) -> None:
    """No `Inline`; handlers with effects; an SQL projection on psycopg; a missing table; a handler that commits."""
    with pytest.raises(ConfigurationError, match=r"inline=Inline\(totals\)"):
        EventStore(shop, inline=[totals()])  # type: ignore[arg-type]
    with pytest.raises(ProjectionError, match="'mails' acts, which an append must not do"):
        Inline(Handlers("mails", shop))
    with psycopg.connect(url) as connection:
        with pytest.raises(UnsupportedConnection, match="an inline SQL projection needs SQLAlchemy"):
            EventStore(shop, inline=Inline(notes())).append(connection, "note-1", Noted())
        connection.execute("drop table totals")
        with pytest.raises(ProjectionError, match="table 'totals' of projection 'totals' does not exist"):
            SHOP.append(connection, "order-1", Noted())
        connection.execute(CREATE)


def test_a_handler_cannot_end_the_callers_transaction(url: str) -> None:
    """A commit inside would separate the caller's rows from later ones: refused, and nothing is committed."""
    ending = SqlProjection("ending", shop)

    @ending.on(Noted)
    def noted(connection: sa.Connection, event: Noted) -> None:
        del event
        connection.commit()

    with (
        engine(url) as made,
        Session(made) as session,
        pytest.raises(ProjectionError, match="must not end the transaction"),
    ):
        EventStore(shop, inline=Inline(ending)).append(session, "note-1", Noted())
    assert sent(url, "note-1") == []


def forgiving() -> TableProjection:
    """Return `totals` with a repaired handler."""
    projection = TableProjection("totals", shop, table=TABLE, key="customer")

    @projection.on(Ordered)
    def ordered(row: Total, event: Ordered) -> None:
        row.orders += 1
        row.amount += event.amount

    return projection


def rows_of_notes(url: str) -> None:
    """Create the table that `notes` writes."""
    with psycopg.connect(url) as connection:
        connection.execute("create table notes (text text)")


@pytest.mark.parametrize(
    ("translated", "refused"), [({None: "tenant"}, True), ({"other": "tenant"}, False), ({}, False)]
)
def test_a_connection_that_translates_the_tables_schema_is_refused(
    url: str,
    translated: dict[str | None, str],
    refused: bool,  # noqa: FBT001 a column
) -> None:
    """The projection is of one table: neither that one nor the translated one is written."""
    with engine(url) as made:
        connection: sa.Connection
        with made.connect().execution_options(schema_translate_map=translated) as connection:
            connection.execute(sa.text("create schema tenant; create table tenant.totals (like totals including all)"))
            if refused:
                with pytest.raises(ProjectionError, match=r"leads table 'totals' .* to 'tenant'"):
                    SHOP.append(connection, "order-1", Ordered("ann", 1))
            else:
                SHOP.append(connection, "order-1", Ordered("ann", 1))
            connection.commit()

    assert len(rows(url, TOTALS)) == (not refused)
    assert rows(url, "select * from tenant.totals") == []
