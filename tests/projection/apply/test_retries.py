"""An event that fails is retried by its handler's policy: its stream waits in order, the others are applied."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import sqlalchemy as sa

from eventkit.errors import TryLater
from eventkit.messaging.handlers import Handlers
from eventkit.projection.retry_policy import Backoff, Retry
from tests.projection.run.outage import Api, PolicyError, go_on, working
from tests.projection.shop import Given, Left, Ordered, apply, checkpoints, letters, message, orders, rows, shop

ATTEMPTS = "select stream, version, cause, attempts from eventkit.dead_letters order by stream, version"
OPEN = "select is_open, streams, attempts from eventkit.handler_waits"
SLOW = Backoff(first=20, factor=2, most=200, jitter=0)


def bug() -> Exception:
    """Return the error of a handler with a bug."""
    return ValueError("a bug")


def test_while_an_event_waits_for_its_next_attempt_the_others_are_applied(url: str) -> None:
    """Those of other streams and of its own type; later events of the stream wait, in order."""
    api = Api()
    api.away = bug
    waiting = [*orders("order-1", 1), message("order-1", 2, Left("ann")), *orders("order-1", 1, first=3)]
    source = Given(waiting, orders("order-2", 2, customer="bob"))

    with working(url, api, Retry(attempts=5, backoff=SLOW)) as running:
        running.step(source)
        api.away = None
        running.step(source)
        assert checkpoints(url) == {"order-2": (2, False)}
        assert [item.key for item in source.acknowledged] == ["order-2", "order-2"]
        go_on(running, source, api, lambda: len(source.acknowledged) == 5)

    assert checkpoints(url) == {"order-1": (3, False), "order-2": (2, False)}
    assert letters(url) == []
    assert rows(url, "select customer, orders from totals order by 1") == [("ann", 2), ("bob", 2), ("left ann", 0)]


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_a_parked_event_says_how_many_attempts_were_made(url: str, attempts: int) -> None:
    """As many calls as attempts, where it comes alone; an event behind it has none."""
    api = Api()
    api.away = bug
    source = Given(orders("order-1", 1), orders("order-1", 1, first=2))

    with working(url, api, Retry(attempts=attempts)) as running:
        go_on(running, source, api, lambda: len(source.acknowledged) == 2)

    assert rows(url, ATTEMPTS) == [("order-1", 1, "failed", attempts), ("order-1", 2, "behind", 0)]
    assert len(api.calls) == attempts


def test_the_pauses_are_those_of_the_policy(url: str) -> None:
    """Nothing is called before a pause is over."""
    api = Api()
    api.away = bug
    source = Given(orders("order-1", 1))
    called: list[float] = []

    with working(url, api, Retry(attempts=4, backoff=SLOW)) as running:

        def done() -> bool:
            called.extend([api.clock.now] * (len(api.calls) - len(called)))
            return bool(source.acknowledged)

        go_on(running, source, api, done)

    assert [round(after - before, -1) for before, after in pairwise(called)] == [20, 40, 80]


@pytest.mark.parametrize(
    ("error", "policy"),
    [
        (FileNotFoundError, Retry(attempts=9, park_on=(FileNotFoundError,))),
        (KeyError, Retry(attempts=9, park_on=(LookupError,))),
        (PolicyError, Retry(attempts=9, park_on=(PolicyError,), wait_for=(LookupError,))),
    ],
)
def test_an_error_that_is_named_in_park_on_parks_at_its_first_failure(
    url: str, error: Callable[[], Exception], policy: Retry
) -> None:
    """Also where it is an OSError."""
    api = Api()
    api.away = error
    source = Given(orders("order-1", 1))

    with working(url, api, policy) as running:
        running.step(source)

    assert rows(url, ATTEMPTS) == [("order-1", 1, "failed", 1)]
    assert len(api.calls) == 1


def test_a_success_between_two_failures_resets_the_count(url: str) -> None:
    """An event that fails twice, then an event behind it that does: each has all of its attempts."""
    api = Api()
    source = Given(orders("order-1", 3))
    failing = iter([True, True, False, True, True, False, False])

    def sometimes() -> None:
        if next(failing):
            raise bug()

    api.answer = sometimes
    with working(url, api, Retry(attempts=3)) as running:
        go_on(running, source, api, lambda: len(source.acknowledged) == 3)

    assert letters(url) == []


@pytest.mark.parametrize("away", [lambda: OSError("down"), lambda: TryLater(3)], ids=["OSError", "TryLater"])
def test_a_breaker_opens_after_as_many_failures_in_a_row_as_the_policy_says(
    url: str, away: Callable[[], Exception]
) -> None:
    """Until then only the streams wait that have failed."""
    api = Api()
    api.away = away
    source = Given(*[orders(f"order-{number}", 1, customer=f"c{number}") for number in range(6)])

    with working(url, api, Retry(opens_after=3, backoff=SLOW, probes=SLOW)) as running:
        for _ in range(2):
            running.step(source)
        running.report_waits()
        assert rows(url, OPEN) == [(False, 2, 2)]
        for _ in range(4):
            running.step(source)
        assert api.calls == ["c0", "c1", "c2"]
        api.away = None
        go_on(running, source, api, lambda: len(source.acknowledged) == 6)

    assert letters(url) == []


def test_failures_that_are_not_in_a_row_open_no_breaker(url: str) -> None:
    """One request in two fails: each stream is tried again by itself."""
    api = Api()
    api.poison = {"eve"}
    source = Given(*[orders(f"order-{number}", 1, customer="eve" if number % 2 else "ann") for number in range(8)])

    with working(url, api, Retry(opens_after=2, attempts=50, backoff=SLOW)) as running:
        for _ in range(8):
            running.step(source)
        assert len(source.acknowledged) == 4
        api.poison = set()
        go_on(running, source, api, lambda: len(source.acknowledged) == 8)

    assert letters(url) == []


def test_a_redrive_makes_few_attempts_under_any_policy(url: str) -> None:
    """It is done between two batches, so it must not take long; the letter counts on."""
    api = Api()
    api.away = bug
    source = Given(orders("order-1", 1))
    with working(url, api, Retry(attempts=7, backoff=Backoff(first=0.01, most=0.01))) as running:
        go_on(running, source, api, lambda: len(source.acknowledged) == 1)
        assert not running.redrives.retry("order-1")

    assert rows(url, ATTEMPTS) == [("order-1", 1, "failed", 10)]


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit], ids=lambda kind: kind.__name__)
def test_a_handler_that_would_end_the_process_is_parked_like_any_other(url: str, kind: type[BaseException]) -> None:
    """`sys.exit()` deep in a library ends no projector."""
    api = Api()

    def leave() -> None:
        raise kind

    api.answer = leave
    source = Given(orders("order-1", 1))
    with working(url, api) as running:
        go_on(running, source, api, lambda: len(source.acknowledged) == 1)

    assert rows(url, "select cause, error like 'ProjectionError at test_retries.py:%' from eventkit.dead_letters") == [
        ("failed", True)
    ]


def test_a_handler_may_take_as_long_as_it_says(url: str) -> None:
    """Its own limit, or its projection's; of a batch, the longest."""
    limits: list[str] = []
    work = Handlers("work", shop, timeout=30)

    @work.on(Ordered, timeout=90)
    def ordered(connection: sa.Connection, event: Ordered) -> None:
        del event
        limits.extend(connection.scalars(sa.text("show idle_in_transaction_session_timeout")))

    @work.on(Left)
    def left(connection: sa.Connection, event: Left) -> None:
        del event
        limits.extend(connection.scalars(sa.text("show idle_in_transaction_session_timeout")))

    apply(url, orders("order-1", 1), [message("order-2", 1, Left("ann"))], projection=work)
    apply(url, [*orders("order-3", 1), message("order-4", 1, Left("ann"))], projection=work)

    assert limits == ["90s", "30s", "90s", "90s"]
