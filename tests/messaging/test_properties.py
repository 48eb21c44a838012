"""For any order of deliveries, repeats, deadlines, cancellations and kills: each effect happens exactly once."""

from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventkit.messaging.timer_worker import SESSION
from eventkit.projection.run.projector import Projector
from eventkit.projection.transaction import OwnTransaction
from eventkit.storage.db.connection import connect
from eventkit.storage.events.stream_history import OwnHistory
from eventkit.storage.timers import LEASE, DueTimers
from tests.messaging.fulfilment import manager, payment
from tests.messaging.shop import OrderPaid, OrderPlaced, PaymentOverdue, deadlines, order, rows, store
from tests.projection.shop import letters, projector

ORDERS, WORKERS = 2, 2
_runs = iter(range(1_000_000))

orders = st.sampled_from([0, 0, 0, 1])  # the interleaving of one order's events matters most
workers = st.integers(0, WORKERS - 1)
windows = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 2, 2, 1, 3]), st.sampled_from([0, 0, 0, 1, 2]), st.integers(1, 4)),
    min_size=1,
    max_size=5,
)
steps = st.one_of(
    st.tuples(st.just("place"), orders),
    st.tuples(st.just("pay"), orders),
    st.tuples(st.just("pay_and_cancel_while_firing"), orders, st.booleans()),
    st.tuples(st.just("fire")),
    st.tuples(st.just("deliver"), workers, windows),
    st.tuples(st.just("deliver"), workers, windows),
    st.tuples(st.just("crash"), workers, windows),
)


class Killed(BaseException):
    """A process ended here."""


@dataclass
class World:
    """A database, two processes of the manager, a timers process, and the service."""

    url: str
    keys: list[str]
    stack: ExitStack
    timers: DueTimers
    history: OwnHistory
    workers: list[Projector] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)  # by the service, committed

    def start(self) -> None:
        """Start the manager's processes."""
        self.workers = [self._worker() for _ in range(WORKERS)]

    def _worker(self) -> Projector:
        return self.stack.enter_context(projector(self.url, manager()))

    @property
    def streams(self) -> list[str]:
        """All streams that the manager reads."""
        return [*map(order, self.keys), *map(payment, self.keys)]

    def place(self, number: int) -> None:
        """An order is placed, once."""
        with psycopg.connect(self.url) as connection:
            if not list(store.read_stream(connection, order(self.keys[number]))):
                store.append(connection, order(self.keys[number]), OrderPlaced(self.keys[number]))

    def pay(self, number: int) -> None:
        """It is paid, or paid again."""
        with psycopg.connect(self.url) as connection:
            store.append(connection, payment(self.keys[number]), OrderPaid(self.keys[number]))

    def pay_and_cancel_while_firing(self, number: int, commit: bool) -> None:  # noqa: FBT001 drawn by hypothesis
        """The service pays and cancels in one transaction, while the timers fire."""
        key = self.keys[number]
        with psycopg.connect(self.url) as connection:
            in_time = deadlines.cancel(connection, order(key), PaymentOverdue)
            store.append(connection, payment(key), OrderPaid(key))
            self.fire()
            if not commit:
                connection.rollback()
            elif in_time:
                self.cancelled.add(key)

    def fire(self) -> None:
        """Four days have passed."""
        self.timers.fire(datetime.now(UTC) + timedelta(days=4))

    def deliver(self, worker: int, parts: list[tuple[int, int, int]]) -> None:
        """A process gets parts of streams: new, again, or with a gap before them."""
        read = self.history.between
        found = [read(self.streams[number], start, start + count + 1, limit=count) for number, start, count in parts]
        self.workers[worker].apply([message for part in found for message in part])

    def crash(self, worker: int, parts: list[tuple[int, int, int]]) -> None:
        """A process is killed when it has done everything but commit; another takes its place."""

        def die(_: OwnTransaction) -> None:
            raise Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(OwnTransaction, "_check", die)
            with suppress(Killed):
                self.deliver(worker, parts)
        self.workers[worker] = self._worker()

    def settle(self) -> None:
        """Everything is delivered to everybody, and time passes, until nothing happens any more."""
        seen = -1
        while seen != (seen := rows(self.url, "select count(*) from eventkit.events")[0][0]):
            for worker in range(WORKERS):
                self.deliver(worker, [(number, 0, 100) for number in range(len(self.streams))])
            self.fire()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(happened=st.lists(steps, min_size=6, max_size=18))
def test_each_effect_happens_exactly_once(url: str, happened: list[tuple[object, ...]]) -> None:
    """One charge an order; sent or cancelled, never both; a deadline fires once or is cancelled; no event is lost."""
    run = next(_runs)
    with ExitStack() as stack:
        firing = stack.enter_context(connect(url, name="timers", autocommit=True, options=SESSION))
        firing.execute("insert into eventkit.leases values (%s, 1, '', 'infinity') on conflict do nothing", (LEASE,))
        due = DueTimers(firing, "eventkit", epoch=1)
        world = World(url, [f"{run}.{number}" for number in range(ORDERS)], stack, due, OwnHistory(firing, "eventkit"))
        world.start()
        for name, *arguments in happened:
            getattr(world, str(name))(*arguments)
        world.settle()

        for key in world.keys:
            _check(world, key)
    assert letters(url) == []


def _check(world: World, key: str) -> None:
    found = rows(world.url, "select type from eventkit.events where stream like '%%-' || %s", (key,))
    counted = Counter(kind for (kind,) in found)
    placed, fired, paid = (counted[kind] for kind in ("OrderPlaced", "PaymentOverdue", "OrderPaid"))
    assert counted["ChargeCard"] == placed
    assert counted["ShipOrder"] + counted["OrderCancelled"] == placed
    assert fired <= placed
    if placed and not paid:
        assert (fired, counted["OrderCancelled"]) == (1, 1)
    if not fired or key in world.cancelled:
        assert (fired, counted["ShipOrder"]) == (0, placed)
    assert rows(world.url, "select count(*) from eventkit.timers") == [(0,)]
    seen = rows(world.url, 'select seen from fulfilments where "order" = %s', (key,))
    assert seen == ([(placed + fired + paid,)] if placed + paid else [])
