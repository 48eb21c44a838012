"""Snapshots spare reading, and no fault of theirs changes the loaded state."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from eventkit.aggregates.aggregate import Aggregate, evolve
from eventkit.aggregates.repository import Repository
from eventkit.aggregates.snapshots import Snapshots
from eventkit.errors import AggregateError
from tests.aggregates.shop import Add, Added, Cart, Order, cart, shop, store

ORDER = shop.stream("order", 1)
MANY = """with e as (
  insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
  select gen_random_uuid(), 'shop', 'order-1', n, 'Added', 1, jsonb_build_object('item', 'tea', 'count', 1), '{}'
    from generate_series(1, 100000) n)
insert into eventkit.streams values ('order-1', 100000)"""


def kept(every: int = 3, **more: object) -> Repository[Order]:
    """Return a repository with snapshots."""
    return Repository(store, Order, category="order", snapshots=Snapshots(every=every, **more))  # type: ignore[arg-type]


def add(orders: Repository[Order], session: Session, count: int, *, commit: bool = True) -> None:
    """Add to order 1, an event a save."""
    for _ in range(count):
        with orders.change(session, 1) as order:
            order.add("tea")
    if commit:
        session.commit()


@contextmanager
def rows_read(engine: Engine) -> Iterator[list[int]]:
    """Yield the numbers of rows that the statements inside have returned."""
    found: list[int] = []

    def note(_c: object, cursor: psycopg.Cursor, *_: object) -> None:
        found.append(cursor.rowcount)

    event.listen(engine, "after_cursor_execute", note)
    yield found
    event.remove(engine, "after_cursor_execute", note)


def snapshots(session: Session) -> list[tuple[object, ...]]:
    """Return the stored snapshots."""
    found = session.execute(text("select stream, aggregate, version, state::text from eventkit.snapshots order by 1"))
    return [tuple(row) for row in found]


def test_a_long_stream_is_loaded_from_its_snapshot(engine: Engine, session: Session) -> None:
    """Of 100,000 events only those after the snapshot are read."""
    session.execute(text(MANY))
    orders = kept(1_000)
    add(orders, session, 4)  # the first of them reads all, and keeps version 100,001

    with rows_read(engine) as found:
        order = orders.load(session, 1)

    assert (order.items, order.version) == ({"tea": 100_004}, 100_004)
    assert sum(found) == 1 + 3


def test_a_snapshot_is_kept_every_so_many_events(session: Session) -> None:
    """Counted from the last one, for any number of events a save has."""
    orders = kept(3)
    versions = []
    for count in (2, 2, 1, 2, 9):
        with orders.change(session, 1) as order:
            order.record(*[Added("tea") for _ in range(count)])
        versions.append([row[2] for row in snapshots(session)])

    assert versions == [[], [4], [4], [7], [16]]
    assert snapshots(session) == [("order-1", "Order", 16, '{"items":{"tea":16},"closed":false}')]


def test_a_kept_dict_has_its_order(session: Session) -> None:
    """The order of a dict is part of the state: a decision may depend on its first key."""
    orders = kept(3)
    with orders.change(session, 1) as order:
        for item in ("tea", "a cake", "ale"):
            order.add(item)

    assert len(snapshots(session)) == 1
    assert list(orders.load(session, 1).items) == ["tea", "a cake", "ale"]


def test_a_policy_may_look_at_the_state(session: Session) -> None:
    """`when` is given the state and the number of events since the last snapshot."""
    seen: list[int] = []

    def closed(order: Order, since: int) -> bool:
        seen.append(since)
        return order.closed

    orders = Repository(store, Order, category="order", snapshots=Snapshots(when=closed))
    add(orders, session, 2)
    with orders.change(session, 1) as order:
        order.close()

    assert seen == [1, 2, 3]
    assert [row[2] for row in snapshots(session)] == [3]


def test_a_deciders_state_is_kept_too(engine: Engine, session: Session) -> None:
    """The function style loads from snapshots in the same way."""
    carts = Repository(store, cart, category="cart", snapshots=Snapshots(every=2))
    for item in ("tea", "cake", "milk"):
        with carts.change(session, 1) as one:
            one.decide(Add(item))

    with rows_read(engine) as found:
        assert carts.load(session, 1).state == Cart(("tea", "cake", "milk"))

    assert sum(found) == 2


async def test_asynchronous_sessions_keep_and_use_them(async_engine: AsyncEngine) -> None:
    """One implementation stands behind both."""
    orders = kept(2)
    async with AsyncSession(async_engine) as session:
        for _ in range(3):
            async with orders.change_async(session, 1) as order:
                order.add("tea")
        with rows_read(async_engine.sync_engine) as found:
            order = await orders.load_async(session, 1)

    assert (order.items, sum(found)) == ({"tea": 3}, 2)


def test_a_rolled_back_save_leaves_no_snapshot(session: Session) -> None:
    """It is written in the same transaction as the events that it stands for."""
    orders = kept(2)
    add(orders, session, 2, commit=False)
    assert len(snapshots(session)) == 1

    session.rollback()

    assert snapshots(session) == []
    assert orders.load(session, 1).version == 0


CHANGES: dict[str, str] = {
    "its JSON is of another shape": """update eventkit.snapshots set state = '{"items": 3}'""",
    "its fold was another": "update eventkit.snapshots set fingerprint = 'other'",
    "it was deleted": "delete from eventkit.snapshots",
    "its event is another": "update eventkit.snapshots set event_id = gen_random_uuid()",
    "it is ahead of its stream": "update eventkit.snapshots set version = 99",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_an_unusable_snapshot_is_ignored_and_replaced(session: Session, change: str) -> None:
    """The state comes from the events, and the next save keeps it."""
    orders = kept(3)
    add(orders, session, 3)
    session.execute(text(change))

    assert orders.load(session, 1) == Order({"tea": 3})
    add(orders, session, 1)

    assert [row[2:] for row in snapshots(session)] == [(4, '{"items":{"tea":4},"closed":false}')]


def test_another_version_given_by_hand_is_another_fold(engine: Engine, session: Session) -> None:
    """`version=` covers the parts of a fold that the fingerprint cannot see."""
    add(kept(2), session, 2)

    with rows_read(engine) as found:
        kept(2, version=2).load(session, 1)

    assert sum(found) == 2


FAILURES = {
    "the table is missing": "alter table eventkit.snapshots rename to gone",
    "the table refuses it": "alter table eventkit.snapshots add check (version < 0)",
}


@pytest.mark.parametrize("change", FAILURES.values(), ids=list(FAILURES))
def test_a_snapshot_that_cannot_be_written_fails_no_save(
    session: Session, database_url: str, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    """The transaction continues, the events are committed, and the log says why there is no snapshot."""
    orders = kept(1)
    order = orders.new(1)
    order.add("tea")
    with psycopg.connect(database_url) as connection:
        connection.execute(change.encode())

    orders.save(session, order)
    session.commit()

    assert [e.version for e in store.read_stream(session, ORDER)] == [1]
    assert "no snapshot of order-1 at version 1" in caplog.text


def test_a_snapshot_does_not_wait_for_locks(session: Session, database_url: str) -> None:
    """Beside an open transaction that deletes snapshots, a save is done at once, without one."""
    orders = kept(1)
    add(orders, session, 1)
    session.execute(text("set lock_timeout = '20s'"))
    with psycopg.connect(database_url) as other:
        other.execute("delete from eventkit.snapshots")

        add(orders, session, 1)

        assert [row[2] for row in snapshots(session)] == [1]


def test_a_caller_in_a_savepoint_keeps_it(session: Session) -> None:
    """Our savepoint stands inside the caller's, which can be rolled back on its own."""
    orders = kept(1)
    add(orders, session, 1)
    with session.begin_nested() as nested:
        add(orders, session, 1, commit=False)
        nested.rollback()

    session.commit()

    assert [row[2] for row in snapshots(session)] == [1]
    assert orders.load(session, 1).version == 1


def test_a_state_that_json_cannot_hold_is_not_kept(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    """A state that would be read back differently, or an unknown field, is logged; the save is done."""

    @dataclass
    class Loose(Aggregate):
        seen: list[Any] = field(default_factory=list)

        @evolve
        def _added(self, event: Added) -> None:
            self.seen.append((event.item,))  # a tuple would come back as a list
            if event.count > 1:
                self.seen.clear()
                self.more = event.count

    loose = Repository(store, Loose, category="order", snapshots=Snapshots(every=1))
    for count in (1, 2):
        with loose.change(session, 1) as one:
            one.record(Added("tea", count))

    assert snapshots(session) == []
    assert loose.load(session, 1).version == 2
    assert "would be read back as ['tea'] (list)" in caplog.text
    assert "has an attribute 'more', which is no field of it" in caplog.text


def test_a_failing_policy_fails_no_save(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    """The log has its error."""

    def fails(state: Order, since: int) -> bool:
        raise ZeroDivisionError(state, since)

    add(Repository(store, Order, category="order", snapshots=Snapshots(when=fails)), session, 1)

    assert "ZeroDivisionError" in caplog.text


def test_a_class_without_a_shape_is_refused() -> None:
    """The shape of its state is unknown: an error when the repository is made."""

    class Plain(Aggregate):
        @evolve
        def _added(self, event: Added) -> None: ...

    with pytest.raises(AggregateError, match="state of Plain cannot be kept in snapshots"):
        Repository(store, Plain, category="order", snapshots=Snapshots(every=1))


def test_an_initial_state_that_json_cannot_hold_is_refused() -> None:
    """It would be found out at the first load otherwise."""

    @dataclass
    class Endless(Aggregate):
        limit: float = math.inf

        @evolve
        def _added(self, event: Added) -> None: ...

    with pytest.raises(AggregateError, match="field 'limit' holds inf"):
        Repository(store, Endless, category="order", snapshots=Snapshots(every=1))


@pytest.mark.parametrize("policy", [{}, {"every": 0}, {"every": 1, "when": max}])
def test_a_policy_is_one_of_two(policy: dict[str, int | Callable[..., bool]]) -> None:
    """Neither, both, and a number below one are refused."""
    with pytest.raises(AggregateError, match="give one of them"):
        Snapshots(**policy)  # type: ignore[arg-type]


def test_two_kinds_of_aggregate_on_one_stream_do_not_disturb_each_other(
    engine: Engine, session: Session, sessions: sessionmaker[Session], caplog: pytest.LogCaptureFixture
) -> None:
    """Each has a row of its own."""

    @dataclass
    class Count(Aggregate):
        count: int = 0

        @evolve
        def _added(self, event: Added) -> None:
            self.count += event.count

    counts = Repository(store, Count, category="order", snapshots=Snapshots(every=1))
    add(kept(1), session, 1)
    with counts.change(session, 1) as one:
        one.record(Added("cake", 5))
    session.commit()

    with caplog.at_level(logging.WARNING), sessions() as other, rows_read(engine) as found:
        assert (kept(1).load(other, 1).items, counts.load(other, 1).count) == ({"tea": 1, "cake": 5}, 6)

    assert sum(found) == 2 + 1
    assert not caplog.text
