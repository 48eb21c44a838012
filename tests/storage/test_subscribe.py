"""Live subscriptions: stored events, then new ones, each once, in the order of its stream."""

import asyncio
import gc
import random
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import create_async_engine

from eventkit.errors import DatabaseUnavailable, InvalidEvent, UnknownEventType, UnsupportedConnection
from eventkit.storage.events.event_store import EventStore
from eventkit.storage.subscriptions import live_log, lone_logs
from eventkit.storage.subscriptions import subscription as iteration
from eventkit.storage.subscriptions.position_ranges import PositionRanges
from eventkit.storage.subscriptions.subscription import LiveSubscription
from tests.servers.postgres import PostgresServer, default_release
from tests.storage.db.service_drivers import asyncpg_url
from tests.storage.shop import Placed, order, shop, sqlalchemy_url
from tests.storage.tags.courses import CourseDefined, Subscribed, school
from tests.waiting import wait_until

if TYPE_CHECKING:
    from eventkit.domain.envelope import Envelope

SECONDS = 30.0


def append(url: str, stream: str, *numbers: int) -> None:
    """Append and commit."""
    with psycopg.connect(url) as connection:
        EventStore(shop).append(connection, order(stream), *[Placed(n) for n in numbers])


def take(subscription: LiveSubscription, count: int) -> list[int]:
    """Return the numbers of the next events."""
    return [next(subscription).event.n for _ in range(count)]


class Listening(threading.Thread):
    """Iterates in a thread of its own."""

    def __init__(self, subscription: LiveSubscription) -> None:
        super().__init__()
        self.got: list[Envelope[Any]] = []
        self.failure: Exception | None = None
        self._subscription = subscription

    def run(self) -> None:
        """Iterate until it is closed."""
        try:
            for envelope in self._subscription:
                self.got.append(envelope)
        except Exception as error:  # noqa: BLE001 checked by the test
            self.failure = error


@pytest.fixture
def store() -> EventStore:
    """A store of its own, for one process's shared reader."""
    return EventStore(shop)


@pytest.mark.both_postgres
def test_it_yields_stored_events_then_new_ones(database_url: str, store: EventStore) -> None:
    """There is no seam between the two."""
    append(database_url, "a", 1, 2)
    with store.subscribe(database_url) as subscription:
        first = take(subscription, 2)
        append(database_url, "b", 3)
        append(database_url, "a", 4)

        assert [*first, *take(subscription, 2)] == [1, 2, 3, 4]


def test_it_starts_above_a_position_or_from_now(database_url: str, store: EventStore) -> None:
    """The position of the event under way is not yet one to resume from."""
    append(database_url, "a", 1, 2, 3)
    with store.subscribe(database_url) as subscription:
        take(subscription, 3)
        append(database_url, "a", 4)
        take(subscription, 1)
        between = subscription.position
    with store.subscribe(database_url, after=between) as again, store.subscribe(database_url, after=None) as now:
        append(database_url, "a", 5)

        assert take(again, 2) == [4, 5]
        assert take(now, 1) == [5]


def test_from_now_on_means_new_events_alone_beside_one_that_catches_up(database_url: str, store: EventStore) -> None:
    """The shared reader of the other one is still at old events."""
    append(database_url, "a", *range(live_log.PAGE + 1))
    with store.subscribe(database_url), store.subscribe(database_url, after=None) as now:
        append(database_url, "a", 7)

        assert take(now, 1) == [7]


def test_from_now_on_includes_what_an_open_transaction_commits(database_url: str, store: EventStore) -> None:
    """Its position is below committed ones, which are not yielded."""
    with psycopg.connect(database_url) as slow:
        append(database_url, "a", 1)
        _roll_back(database_url)
        store.append(slow, order("slow"), Placed(2))
        append(database_url, "a", 3)
        with store.subscribe(database_url, after=None) as now:
            slow.commit()
            append(database_url, "a", 4)

            assert take(now, 2) == [2, 4]


def test_types_and_categories_choose(database_url: str) -> None:
    """An event that is not chosen moves the position and is not yielded."""
    store = EventStore(school)
    with psycopg.connect(database_url) as connection:
        for number in range(3):
            store.append(connection, school.stream("course", number), CourseDefined(f"c{number}"))
            store.append(connection, school.stream("subscription", number), Subscribed(f"c{number}", "s1"))
    with (
        store.subscribe(database_url, types=[Subscribed]) as of_type,
        store.subscribe(database_url, categories=["course"]) as of_category,
    ):
        assert [next(of_type).event for _ in range(3)] == [Subscribed(f"c{number}", "s1") for number in range(3)]
        assert [next(of_category).event for _ in range(3)] == [CourseDefined(f"c{number}") for number in range(3)]


def test_an_open_transaction_delays_its_own_events_alone(database_url: str, store: EventStore) -> None:
    """Its events come when it commits, and until then the position stays below them."""
    with store.subscribe(database_url) as subscription, psycopg.connect(database_url) as slow:
        store.append(slow, order("slow"), Placed(1))
        append(database_url, "a", 2)
        append(database_url, "a", 3)
        early = take(subscription, 2)
        position = subscription.position
        slow.commit()

        assert early == [2, 3]
        assert position == 0
        assert take(subscription, 1) == [1]


def test_under_writers_each_event_comes_once_and_in_the_order_of_its_stream(
    database_url: str, store: EventStore
) -> None:
    """With rollbacks and slow transactions, for those who are there from the start and for those who come later."""
    first = Listening(store.subscribe(database_url))
    first.start()
    writers = [threading.Thread(target=_write, args=(database_url, seed)) for seed in range(6)]
    for writer in writers:
        writer.start()
    wait_until(lambda: len(first.got) > 40, timeout=SECONDS)
    late = Listening(store.subscribe(database_url))
    late.start()
    for writer in writers:
        writer.join()
    with psycopg.connect(database_url) as connection:
        written = {(str(one.stream), one.version) for one in store.read_all(connection)}

    for listening in (first, late):
        _wait_for(listening, len(written))
        listening._subscription.close()
        listening.join()
        assert listening.failure is None
        assert len(listening.got) == len(written)
        assert {(str(one.stream), one.version) for one in listening.got} == written
        versions = defaultdict(list)
        for one in listening.got:
            versions[one.stream].append(one.version)
        assert all(found == sorted(found) for found in versions.values())


def _wait_for(listening: Listening, count: int) -> None:
    wait_until(lambda: len(listening.got) >= count, timeout=SECONDS)


def _write(url: str, seed: int) -> None:
    chance, store = random.Random(seed), EventStore(shop)
    with psycopg.connect(url) as connection:
        for number in range(40):
            with suppress(ZeroDivisionError), connection.transaction():
                store.append(connection, order(f"{chance.randrange(8)}"), *[Placed(number)] * chance.randrange(1, 4))
                if chance.random() < 0.2:
                    connection.execute("select pg_sleep(0.02)")
                if chance.random() < 0.15:
                    raise ZeroDivisionError


def test_all_subscriptions_of_a_process_share_one_session(database_url: str, store: EventStore) -> None:
    """It ends with the last of them, also where one was forgotten and not closed."""
    append(database_url, "a", *range(5))

    def sessions() -> int:
        with psycopg.connect(database_url) as connection:
            name = "select count(*) from pg_stat_activity where application_name = 'eventkit subscribe'"
            row = connection.execute(name + " and datname = current_database()").fetchone()
        return int(row[0]) if row else 0

    subscriptions = [store.subscribe(database_url) for _ in range(20)]
    for subscription in subscriptions:
        assert take(subscription, 5) == list(range(5))
    wait_until(lambda: sessions() == 1, timeout=SECONDS)
    for subscription in subscriptions[1:]:
        subscription.close()
    assert sessions() == 1
    del subscriptions, subscription
    gc.collect()

    wait_until(lambda: sessions() == 0, timeout=SECONDS)


def test_a_subscription_that_is_too_slow_reads_alone_until_it_has_caught_up(
    database_url: str, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events kept for followers are bounded by bytes; a slow one misses nothing."""
    monkeypatch.setattr(live_log, "MAX_BYTES", 500)
    monkeypatch.setattr(live_log, "PAGE", 5)
    with store.subscribe(database_url) as quick, store.subscribe(database_url) as slow:
        append(database_url, "a", 0)
        assert take(slow, 1) == [0]
        for number in range(1, 60):
            append(database_url, "a", number)

        assert take(quick, 60) == list(range(60))
        assert take(slow, 59) == list(range(1, 60))
        append(database_url, "a", 60)
        assert take(slow, 1) == [60]


def test_a_transaction_that_stays_open_for_long_takes_bounded_memory(
    database_url: str, store: EventStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Returned events are remembered as ranges; with too many, the subscription waits, and then loses nothing."""
    monkeypatch.setattr(live_log, "PAGE", 1)
    monkeypatch.setattr("eventkit.storage.subscriptions.subscription.MAX_RANGES", 3)
    with store.subscribe(database_url) as listening, psycopg.connect(database_url) as slow:
        store.append(slow, order("slow"), Placed(0))
        for number in range(1, 10):
            _roll_back(database_url)
            append(database_url, "a", number)
        early = take(listening, 3)
        waited = [listening._follower.read(0) for _ in range(6)]
        slow.commit()

        assert early == [1, 2, 3]
        assert not any(waited)
        assert sorted(take(listening, 7)) == [0, 4, 5, 6, 7, 8, 9]
        append(database_url, "a", 10)
        assert take(listening, 1) == [10]
    assert "waits for a transaction that has been open since then: 3 ranges" in caplog.text


def _roll_back(url: str) -> None:
    """Draw a position that is never seen."""
    with psycopg.connect(url) as connection:
        EventStore(shop).append(connection, order("never"), Placed(0))
        connection.rollback()


def test_a_million_events_above_an_open_transaction_are_one_range() -> None:
    """Only the gaps between them take memory."""
    returned = PositionRanges()

    for first in range(2, 1_000_002, 1_000):
        returned.add(range(first, first + 1_000))

    assert len(returned) == 1
    assert 1_000_001 in returned
    assert 1 not in returned


@given(st.lists(st.tuples(st.sets(st.integers(1, 30)), st.integers(0, 30)), max_size=8))
def test_ranges_are_a_set_of_positions(steps: list[tuple[set[int], int]]) -> None:
    """Whatever is added and forgotten, in any order."""
    returned, model, floor = PositionRanges(), set[int](), 0
    for positions, forgotten in steps:
        new = sorted(positions - model)
        returned.add(new)
        model |= positions
        floor = max(floor, forgotten)
        returned.forget(floor)
        model = {position for position in model if position > floor}

        assert {position for position in range(40) if position in returned} == model
        assert returned.highest == max(model, default=0)
        assert len(returned) == sum(position - 1 not in model for position in model)


def test_it_survives_a_restart_of_the_server() -> None:
    """It waits for the server, and continues without a gap and without a repeat."""
    server = PostgresServer.start(default_release())
    assert server.embedded
    try:
        url = server.fresh(migrated=True)
        store = EventStore(shop)
        listening = Listening(store.subscribe(url))
        listening.start()
        append(url, "a", 1, 2)
        wait_until(lambda: len(listening.got) == 2, timeout=SECONDS)
        server.embedded.crash()
        server.embedded.restart()
        append(url, "a", 3)
        wait_until(lambda: len(listening.got) == 3, timeout=SECONDS)
        listening._subscription.close()
        listening.join()
    finally:
        server.stop()

    assert listening.failure is None
    assert [one.version for one in listening.got] == [1, 2, 3]


def test_closing_ends_an_iteration_that_waits(database_url: str, store: EventStore) -> None:
    """Another thread may close it."""
    listening = Listening(store.subscribe(database_url))
    listening.start()
    listening._subscription.close()
    listening.join(SECONDS)

    assert not listening.is_alive()
    assert listening.failure is None


async def test_tasks_pass_over_events_that_are_not_chosen(
    database_url: str, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is behind reads on; it does not wait for a new event after each batch."""
    monkeypatch.setattr(iteration, "_WAIT_TIMEOUT", 3_600)
    with store.subscribe(database_url) as other, store.subscribe(database_url, categories=["invoice"]) as chosen:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await anext(chosen)
        for number in range(5):  # a batch each
            append(database_url, "a", number)
            assert take(other, 1) == [number]
        with psycopg.connect(database_url) as connection:
            store.append(connection, shop.stream("invoice", 1), Placed(9))

        assert await asyncio.wait_for(_numbers(chosen, 1), SECONDS) == [9]


async def test_a_task_that_waits_for_long_leaves_nothing_with_the_shared_reader(
    database_url: str, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wait ends after a moment and begins anew."""
    monkeypatch.setattr(iteration, "_WAIT_TIMEOUT", 0.001)
    with store.subscribe(database_url, after=None) as waiting:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(waiting)

        assert waiting._follower._live
        assert not waiting._follower._live._wakers


def test_subscriptions_that_are_behind_share_a_few_sessions(
    database_url: str, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not read gives its session to another one, and loses nothing."""
    monkeypatch.setattr(live_log, "MAX_BYTES", 0)
    monkeypatch.setattr(live_log, "PAGE", 1)
    monkeypatch.setattr(lone_logs, "MOST", 2)
    monkeypatch.setattr(lone_logs, "_IDLE", 0.0)
    append(database_url, "a", *range(4))
    subscriptions = [store.subscribe(database_url) for _ in range(6)]

    got = [[n] for subscription in subscriptions for n in take(subscription, 1)]
    for _ in range(3):
        for place, subscription in enumerate(subscriptions):
            got[place] += take(subscription, 1)

    assert got == [[0, 1, 2, 3]] * 6
    assert len(store._live.lone(database_url)._by_owner) <= 2
    for subscription in subscriptions:
        subscription.close()
    assert not store._live.lone(database_url)._by_owner


async def _numbers(subscription: LiveSubscription, count: int) -> list[int]:
    return [(await anext(subscription)).event.n for _ in range(count)]


async def test_tasks_iterate_too_and_a_cancelled_one_loses_nothing(database_url: str, store: EventStore) -> None:
    """Twenty tasks need no thread each; a wait that is cancelled continues with the next."""
    subscriptions = [store.subscribe(database_url) for _ in range(20)]
    tasks = [asyncio.create_task(_numbers(each, 3)) for each in subscriptions]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(late := store.subscribe(database_url, after=0)), 0.05)
    await asyncio.to_thread(append, database_url, "a", 1, 2, 3)

    assert await asyncio.gather(*tasks) == [[1, 2, 3]] * 20
    assert await _numbers(late, 3) == [1, 2, 3]
    for each in (*subscriptions, late):
        each.close()


def test_a_database_is_given_as_the_service_has_it(database_url: str, store: EventStore) -> None:
    """By a URL of either driver, with asyncpg's own options too, by an engine, by a pool of psycopg."""
    append(database_url, "1", 1)
    asyncpg = asyncpg_url(database_url)
    options = f"{'&' if '?' in asyncpg else '?'}ssl=prefer&prepared_statement_cache_size=0&timeout=5"
    given: list[Any] = [
        asyncpg,
        asyncpg + options,
        create_async_engine(asyncpg),
        create_async_engine(sqlalchemy_url(database_url)),
        psycopg_pool.ConnectionPool(database_url, open=False),
        psycopg_pool.ConnectionPool(
            "", kwargs={**psycopg.conninfo.conninfo_to_dict(database_url), "autocommit": True}, open=False
        ),
    ]
    for one in given:
        with store.subscribe(one) as subscription:
            assert take(subscription, 1) == [1]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda store, url: store.subscribe(url, after=-1), InvalidEvent),
        (lambda store, url: store.subscribe(url, types=[CourseDefined]), UnknownEventType),
        (lambda store, url: store.subscribe(url, types=Placed), InvalidEvent),
        (lambda store, url: store.subscribe(url, categories="order"), InvalidEvent),
        (lambda store, _: store.subscribe(psycopg), UnsupportedConnection),
        (lambda store, _: store.subscribe("postgresql://127.0.0.1:1/none"), DatabaseUnavailable),
    ],
)
def test_an_invalid_subscription_is_refused_at_once(
    database_url: str, store: EventStore, call: Callable[[EventStore, str], object], error: type[Exception]
) -> None:
    """Wrong at the start is an error at the start."""
    with pytest.raises(error):
        call(store, database_url)


def test_an_engine_names_the_database(database_url: str, store: EventStore) -> None:
    """Its pool is not used: a subscription stays for long."""
    engine = sa.create_engine(sqlalchemy_url(database_url))
    append(database_url, "a", 1)
    with store.subscribe(engine) as subscription:
        assert take(subscription, 1) == [1]
    engine.dispose()
