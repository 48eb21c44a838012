"""Handlers that call an API which may be away, run with a manual clock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.error import HTTPError

import sqlalchemy as sa

from eventkit.errors import DatabaseUnavailable, TryLater
from eventkit.messaging.handlers import Handlers
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.failure.breaker import Breakers
from eventkit.projection.failure.set_aside import SetAside
from eventkit.projection.retry_policy import Backoff, Retry
from eventkit.projection.run.projector import Projector
from eventkit.storage.db.connection import connect
from eventkit.storage.events.stream_history import OwnHistory
from tests.projection.shop import Given, Left, Ordered, shop
from tests.waiting import wait_until


class PolicyError(Exception):
    """Of a client whose errors are none of Python's own."""


AWAY: list[Callable[[], Exception]] = [
    lambda: TryLater(0.01, "the rates are not to be had just now"),
    lambda: OSError("no route to host"),
    lambda: TimeoutError("too slow"),
    lambda: ConnectionRefusedError(111, "refused"),
    lambda: HTTPError("http://rates", 503, "unavailable", None, None),  # type: ignore[arg-type]
    lambda: HTTPError("http://rates", 429, "too many", None, None),  # type: ignore[arg-type]
    lambda: DatabaseUnavailable("the other database is away"),
    lambda: sa.exc.TimeoutError("no connection of the pool is free"),
    lambda: PolicyError("away"),
]


class Clock:
    """A manual clock."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Api:
    """The service that handlers call; while it is `away`, it raises that."""

    def __init__(self) -> None:
        self.away: Callable[[], Exception] | None = None
        self.poison: set[str] = set()  # customers that always fail
        self.calls: list[str] = []
        self.clock = Clock()
        self.answer: Callable[[], None] = lambda: None

    def call(self, customer: str) -> None:
        """Answer, or fail."""
        self.calls.append(customer)
        self.answer()
        if self.away is not None:
            raise self.away()
        if customer in self.poison:
            raise ConnectionResetError(customer)


POLICY = Retry(wait_for=(PolicyError,), backoff=Backoff(first=1, factor=2, most=8, jitter=0))


def handlers(api: Api, retry: Retry = POLICY) -> Handlers:
    """Return handlers of which one calls the API."""
    work = Handlers("work", shop, retry=retry)

    @work.on(Ordered)
    def ordered(connection: sa.Connection, event: Ordered) -> None:
        api.call(event.customer)
        add = "insert into totals values (%s, 1, %s) on conflict (customer) do update set orders = totals.orders + 1"
        connection.exec_driver_sql(add, (event.customer, event.amount))

    @work.on(Left)
    def left(connection: sa.Connection, event: Left) -> None:
        connection.exec_driver_sql("insert into totals values (%s, 0, 0)", (f"left {event.customer}",))

    return work


@contextmanager
def working(url: str, api: Api, retry: Retry = POLICY) -> Iterator[Projector]:
    """Run the handlers with a manual clock."""
    projection = handlers(api, retry)
    connection = connect(url, name="projector", autocommit=False)
    workspace = projection.workspace(connection)
    breakers = Breakers("work", clock=api.clock)
    waiting = SetAside(projection.handlers, breakers, clock=api.clock)
    applying = BatchApplier(projection, workspace, schema="eventkit")
    running = Projector(applying, history=OwnHistory(connection, "eventkit"), aside=waiting)
    running.start()
    yield running
    workspace.close()


def go_on(running: Projector, source: Given, api: Api, done: Callable[[], bool]) -> None:
    """Work with time passing until something is so."""

    def step() -> bool:
        api.clock.now += 1
        running.step(source)
        return done()

    wait_until(step, timeout=120)
