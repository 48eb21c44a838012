"""Loading, changing and saving on real PostgreSQL."""

import threading
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from eventkit import (
    NO_STREAM,
    Catalog,
    ConcurrencyError,
    EventStore,
    InvalidStreamId,
    StreamId,
    UndecodableEvent,
    UnknownEventType,
)
from eventkit.aggregates.aggregate import Aggregate, evolve
from eventkit.aggregates.repository import Repository
from eventkit.aggregates.retry import retry_on_conflict
from eventkit.errors import AggregateError, InvalidEvent, MissingEvents, UnexpectedEvent, UnsupportedConnection
from tests.aggregates.shop import Add, Added, Cart, Closed, Odd, Order, OrderClosed, Viewed, carts, orders, shop, store
from tests.storage.shop import written

ORDER = shop.stream("order", 1)


def test_a_changed_aggregate_is_loaded_with_its_changes(session: Session) -> None:
    """A new aggregate and a loaded one are changed in the same way; each block appends its recorded events."""
    with orders.change(session, 1) as order:
        order.add("tea")
        order.add("cake", 2)
    with orders.change(session, 1) as order:
        order.close()
    session.commit()

    loaded = orders.load(session, 1)

    assert loaded == Order({"tea": 1, "cake": 2}, closed=True)
    assert (loaded.stream, loaded.version, loaded.recorded) == (ORDER, 3, ())


def test_an_exception_in_the_block_appends_nothing(session: Session) -> None:
    """Events recorded before a refusal are dropped with the aggregate; the transaction continues."""

    def too_late() -> None:
        with orders.change(session, 1) as order:
            order.add("tea")
            order.close()
            order.add("cake")

    with pytest.raises(OrderClosed):
        too_late()

    assert orders.load(session, 1).version == 0


def test_a_block_that_records_nothing_appends_nothing(session: Session) -> None:
    """Looking is no change; nothing is expected of the stream."""
    with orders.change(session, 1) as order:
        assert order.version == 0

    assert orders.save(session, order) is None
    assert list(store.read_stream(session, ORDER)) == []


def test_the_second_of_two_writers_is_refused(session: Session, sessions: sessionmaker[Session]) -> None:
    """Saving expects the version that was loaded, none for a new stream: no decision is made on an older state."""
    for expected in (0, 1):
        mine = orders.load(session, 1)
        with sessions.begin() as other, orders.change(other, 1) as theirs:
            theirs.add("cake")

        mine.add("tea")
        with pytest.raises(ConcurrencyError) as caught:
            orders.save(session, mine)

        assert (caught.value.stream, caught.value.expected, caught.value.actual) == (ORDER, expected, expected + 1)


def test_a_new_aggregate_expects_no_stream(session: Session) -> None:
    """`new` does not look, and saving it over an old one is refused."""
    orders_before = orders.new(1)
    orders_before.add("tea")
    orders.save(session, orders_before)

    again = orders.new(1)
    again.add("cake")

    with pytest.raises(ConcurrencyError, match="was expected not to exist"):
        orders.save(session, again)


def test_a_saved_aggregate_can_be_changed_further(session: Session) -> None:
    """Saving advances its version, so the next save expects the version that this one wrote."""
    order = orders.load(session, 1)
    for item in ("tea", "cake"):
        order.add(item)
        orders.save(session, order, metadata={"by": item})

    assert (order.version, order.recorded) == (2, ())
    assert [e.metadata.extra["by"] for e in store.read_stream(session, ORDER)] == ["tea", "cake"]


def test_saved_events_follow_the_cause(session: Session) -> None:
    """In a handler, a repository bound to the envelope gives its events the story of the event they answer."""
    store.append(session, shop.stream("cart", 1), Closed())
    cause = next(store.read_stream(session, shop.stream("cart", 1)))

    with orders.following(cause).change(session, 1) as order:
        order.close()

    metadata = next(store.read_stream(session, ORDER)).metadata
    assert (metadata.causation_id, metadata.correlation_id) == (str(cause.id), str(cause.id))


def test_a_decider_is_changed_in_the_same_way(session: Session) -> None:
    """The function style stands over the same repository."""
    with carts.change(session, "a") as cart:
        cart.decide(Add("tea"))
    with carts.change(session, "a") as cart:
        assert cart.state == Cart(("tea",))
        cart.decide(Add("cake"))

    assert carts.load(session, "a").state == Cart(("tea", "cake"))


async def test_asynchronous_sessions_and_connections_do_the_same(async_engine: AsyncEngine, database_url: str) -> None:
    """`load_async`, `save_async` and `change_async`, on SQLAlchemy's and on psycopg's connections."""
    async with AsyncSession(async_engine) as session, session.begin(), orders.change_async(session, 1) as order:
        order.add("tea")
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        order = await orders.load_async(connection, 1)
        order.close()
        await orders.save_async(connection, order)
    async with async_engine.begin() as sqlalchemy:
        with pytest.raises(OrderClosed):
            async with orders.change_async(sqlalchemy, 1) as order:
                order.add("cake")

    with psycopg.connect(database_url) as connection:
        assert orders.load(connection, 1) == Order({"tea": 1}, closed=True)


def test_the_other_kind_of_session_is_named(async_engine: AsyncEngine) -> None:
    """The error says which function to call with it."""
    with pytest.raises(UnsupportedConnection, match=r"await load_async\(…\)"):
        orders.load(AsyncSession(async_engine), 1)  # type: ignore[arg-type]


def test_a_long_stream_is_folded_page_by_page(session: Session) -> None:
    """More events than a statement returns are all there, in order."""
    store.append(session, ORDER, *[Added(str(n % 7), n) for n in range(2_500)])

    order = orders.load(session, 1)

    assert (order.version, sum(order.items.values())) == (2_500, sum(range(2_500)))


def test_an_event_that_the_aggregate_does_not_evolve_is_an_error_with_its_place(session: Session) -> None:
    """An event type that this code does not understand: a state without it would be a guess."""
    store.append(session, ORDER, Added("tea"), Odd())

    with pytest.raises(UnexpectedEvent, match="version 2 of 'order-1' is Odd, which Order does not evolve"):
        orders.load(session, 1)


def test_ignored_types_are_not_even_decoded(session: Session, database_url: str) -> None:
    """By class or by name, also where the class is gone or older than the stored event."""
    store.append(session, ORDER, Added("tea"), Viewed(), Closed())
    session.commit()
    change_events(database_url, "update eventkit.events set schema_version = 9 where type = 'Viewed'")
    change_events(database_url, "update eventkit.events set type = 'Gone' where type = 'Closed'")

    class Adding(Aggregate):
        ignored = (Viewed, "Gone")

        @evolve
        def _added(self, event: Added) -> None:
            self.last = event.item

    assert Repository(store, Adding, category="order").load(session, 1).last == "tea"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("schema_version = 9", UndecodableEvent),
        ("type = 'Gone'", UnknownEventType),
        ("data = '{}'", UndecodableEvent),
    ],
)
def test_an_undecodable_event_is_an_error_with_its_place(
    session: Session, database_url: str, change: str, error: type[Exception]
) -> None:
    """The error keeps its kind and says where the event stands."""
    store.append(session, ORDER, Closed(), Added("tea"))
    session.commit()
    change_events(database_url, f"update eventkit.events set {change} where version = 2")

    with pytest.raises(error, match="Order cannot be loaded: version 2 of 'order-1'"):
        orders.load(session, 1)


def test_a_stream_with_missing_versions_is_refused(session: Session, database_url: str) -> None:
    """A state folded from the events left after pruning would be wrong."""
    store.append(session, ORDER, *[Added("tea") for _ in range(4)])
    session.commit()
    change_events(database_url, "delete from eventkit.events where version in (2, 3)")

    with pytest.raises(MissingEvents, match="versions 2 to 3 of 'order-1' are not in the store"):
        orders.load(session, 1)


def test_a_failing_evolve_says_at_which_event(session: Session) -> None:
    """The error keeps its type, with a note of the place."""
    store.append(session, ORDER, Closed())

    class Broken(Aggregate):
        @evolve
        def fails(self, _: Closed) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        Repository(store, Broken, category="order").load(session, 1)

    assert caught.value.__notes__ == ["while Broken was loaded: version 1 of 'order-1', Closed"]


def test_ids_and_streams_are_distinguished() -> None:
    """A StreamId is a stream; text that only looks like one is refused, for `order-order-1` would be empty."""
    assert orders.stream("1") == orders.stream(1) == orders.stream(ORDER) == "order-1"
    assert orders.stream(StreamId("order", "order-1")) == "order-order-1"
    with pytest.raises(InvalidStreamId, match=r"StreamId.parse\('order-1'\)"):
        orders.stream("order-1")
    with pytest.raises(InvalidStreamId, match="no stream of category 'order', where Order is"):
        orders.stream(StreamId("cart", 1))


def test_an_aggregate_made_by_hand_is_not_saved(session: Session) -> None:
    """It has no stream."""
    order = Order()
    order.close()

    with pytest.raises(AggregateError, match=r"repository.new\(id\)"):
        orders.save(session, order)


def test_an_aggregate_must_be_known_to_the_catalog() -> None:
    """An unregistered event class is refused when the repository is made; so is a class that is no aggregate."""
    with pytest.raises(UnknownEventType, match="Added"):
        Repository(EventStore(Catalog("other")), Order, category="order")
    with pytest.raises(AggregateError, match="is no aggregate"):
        Repository(store, dataclass, category="order")  # type: ignore[call-overload]


def test_the_tables_agree_after_all_that(session: Session, database_url: str) -> None:
    """Aggregates write through append alone."""
    for key in (1, 2):
        with orders.change(session, key) as order:
            order.add("tea")
            order.close()
    session.commit()

    assert list(written(database_url)) == ["order-1", "order-2"]


def change_events(url: str, statement: str) -> None:
    """Change the events as only an operator, or an older release, could have done."""
    with psycopg.connect(url) as connection:
        connection.execute("alter table eventkit.events disable trigger all")
        connection.execute(statement.encode())
        connection.execute("alter table eventkit.events enable trigger all")


def test_several_are_saved_in_one_call_or_none_of_them(session: Session) -> None:
    """A conflict in one takes all of them back; those without anything recorded are left out."""
    first, second, idle = orders.new(1), orders.new(2), orders.new(3)
    first.add("tea")
    second.add("cake")
    done = orders.save_many(session, second, idle, first)
    stale = orders.load(session, 2)
    with orders.change(session, 2) as order:
        order.close()
    first.add("jam")
    stale.add("jam")
    with pytest.raises(ConcurrencyError):
        orders.save_many(session, first, stale)

    assert [(one.stream, one.version) for one in done] == [(shop.stream("order", 2), 1), (ORDER, 1)]
    assert orders.load(session, 1).items == {"tea": 1}


async def test_several_are_saved_asynchronously_or_none_of_them(session: Session, async_engine: AsyncEngine) -> None:
    """On an asynchronous session, as on a synchronous one: the versions rise, and a conflict takes all back."""
    first, second, idle = orders.new(1), orders.new(2), orders.new(3)
    first.add("tea")
    second.add("cake")
    async with AsyncSession(async_engine) as asynchronous:
        done = await orders.save_many_async(asynchronous, second, idle, first)
        assert await orders.save_many_async(asynchronous, idle) == []
        await asynchronous.commit()
        with orders.change(session, 2) as order:
            order.close()
        session.commit()
        first.add("jam")
        second.add("jam")
        with pytest.raises(ConcurrencyError):
            await orders.save_many_async(asynchronous, first, second)
        await asynchronous.commit()

    assert [(one.stream, one.version) for one in done] == [(shop.stream("order", 2), 1), (ORDER, 1)]
    assert (orders.load(session, 1).items, orders.load(session, 2).version) == ({"tea": 1}, 2)


def test_a_list_of_aggregates_is_refused(session: Session) -> None:
    """Not taken for one aggregate."""
    with pytest.raises(AggregateError, match="is no aggregate"):
        orders.save_many(session, [orders.new(1)])  # type: ignore[arg-type]


@pytest.mark.parametrize("at", [-1, 2.0, "2026-01-01", True], ids=repr)
def test_an_invalid_moment_is_refused_by_its_own_name(session: Session, at: Any) -> None:
    """`at` is the argument of `load`."""
    with pytest.raises(InvalidEvent, match=f"^at={at!r}: give a version"):
        orders.load(session, 1, at=at)


def test_a_save_depends_on_streams_that_it_does_not_write(session: Session) -> None:
    """One aggregate or several; a guard that does not hold writes nothing, and leaves them unsaved."""
    first, second = orders.new(1), orders.new(2)
    first.add("tea")
    second.add("cake")
    other = shop.stream("order", 3)
    with pytest.raises(ConcurrencyError):
        orders.save(session, first, guards={other: 1})
    with pytest.raises(ConcurrencyError):
        orders.save_many(session, first, second, guards={other: 1})
    none = (orders.load(session, 1).version, orders.load(session, 2).version)
    orders.save(session, first, guards={other: NO_STREAM})
    orders.save_many(session, second, guards={other: NO_STREAM})

    assert none == (0, 0)
    assert (orders.load(session, 1).version, orders.load(session, 2).version) == (1, 1)


async def test_an_asynchronous_save_depends_on_them_likewise(async_engine: AsyncEngine) -> None:
    """By the same arguments."""
    first = orders.new(1)
    first.add("tea")
    other = shop.stream("order", 3)
    async with AsyncSession(async_engine) as session:
        with pytest.raises(ConcurrencyError):
            await orders.save_async(session, first, guards={other: 1})
        with pytest.raises(ConcurrencyError):
            await orders.save_many_async(session, first, guards={other: 1})
        await orders.save_many_async(session, first, guards={other: NO_STREAM})

        assert (await orders.load_async(session, 1)).version == 1


def test_opposite_transfers_do_not_deadlock(sessions: sessionmaker[Session]) -> None:
    """Streams are locked in one order, independent of the order of the call."""
    with sessions.begin() as session:
        for key in (1, 2):
            with orders.change(session, key) as order:
                order.add("coin", 100)

    def transfer(source: int, target: int) -> None:
        for _ in range(20):
            retry_on_conflict(sessions.begin, lambda session: _transfer(session, source, target), attempts=200)

    threads = [threading.Thread(target=transfer, args=pair) for pair in ((1, 2), (2, 1)) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with sessions() as session:
        assert {orders.load(session, key).version for key in (1, 2)} == {81}


def _transfer(session: Session, source: int, target: int) -> None:
    giver, taker = orders.load(session, source), orders.load(session, target)
    giver.add("coin", -1)
    taker.add("coin", 1)
    orders.save_many(session, giver, taker)


def test_an_aggregate_is_loaded_as_it_was(session: Session) -> None:
    """At a version or at a time; a change of an outdated state is refused."""
    for item in ("tea", "cake", "jam"):
        with orders.change(session, 1) as order:
            order.add(item)
    times = [one.recorded_at for one in store.read_stream(session, ORDER)]

    early = orders.load(session, 1, at=1)
    early.add("salt")

    assert orders.load(session, 1, at=2).items == {"tea": 1, "cake": 1}
    assert orders.load(session, 1, at=times[1]).items == {"tea": 1, "cake": 1}
    assert orders.load(session, 1, at=0).version == 0
    with pytest.raises(ConcurrencyError):
        orders.save(session, early)
