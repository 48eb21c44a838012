"""A service that a handler calls is away: its streams wait, in order, nothing is parked, and the others are applied."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.error import HTTPError

import pytest

from eventkit.errors import TryLater
from eventkit.projection.failure import set_aside
from eventkit.storage.db.connection import connect
from tests.projection.define.async_twin import make_twins
from tests.projection.run.outage import AWAY, Api, go_on, working
from tests.projection.shop import Given, Left, checkpoints, letters, message, orders, rows


@pytest.fixture(autouse=True, params=["plain", "async def"])
def _handlers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test holds for plain handlers and for `async def` ones."""
    if request.param == "async def":
        make_twins(monkeypatch)


@pytest.mark.parametrize("away", AWAY, ids=lambda make: f"{type(make()).__name__} {make()}"[:40])
def test_streams_wait_and_continue_by_themselves(url: str, away: Callable[[], Exception]) -> None:
    """Nothing is parked and nothing is acknowledged meanwhile, and the order is kept."""
    api = Api()
    batch = [event for number in range(20) for event in orders(f"order-{number}", 3, customer=f"c{number}")]
    source = Given(batch)

    with working(url, api) as running:
        api.away = away
        go_on(running, source, api, lambda: len(api.calls) > 6)
        assert (letters(url), rows(url), source.acknowledged) == ([], [], [])
        api.away = None
        go_on(running, source, api, lambda: len(source.acknowledged) == 60)

    assert rows(url, "select distinct orders from totals") == [(3,)]
    assert set(checkpoints(url).values()) == {(3, False)}
    assert letters(url) == []


def test_one_stream_at_a_time_is_tried_each_time_another_one(url: str) -> None:
    """An API that comes back is not met by all that have waited; nor is one stream's trouble everybody's."""
    api = Api()
    api.away = AWAY[1]

    with working(url, api) as running:
        source = Given([event for number in range(5) for event in orders(f"order-{number}", 1, customer=f"c{number}")])
        go_on(running, source, api, lambda: len(api.calls) == 6)

    assert sorted(api.calls[:5]) == ["c0", "c1", "c2", "c3", "c4"]


def test_events_of_other_types_are_applied(url: str) -> None:
    """Those of other streams, and those before the event that waits; events behind it wait with it."""
    api = Api()
    api.away = AWAY[0]
    waiting = [message("order-1", 1, Left("ann")), *orders("order-1", 1, first=2), message("order-1", 3, Left("bob"))]
    source = Given(waiting, [message("order-2", 1, Left("cy"))], [message("order-1", 4, Left("dan"))])

    with working(url, api) as running:
        go_on(running, source, api, lambda: not source.batches)
        found = rows(url, "select customer from totals order by 1")
        assert found == [("left ann",), ("left cy",)]
        assert [item.key for item in source.acknowledged] == ["order-2"]
        api.away = None
        go_on(running, source, api, lambda: len(source.acknowledged) == 5)

    assert checkpoints(url) == {"order-1": (4, False), "order-2": (1, False)}


def test_poison_that_looks_like_an_outage_is_parked_and_stops_no_other_stream(url: str) -> None:
    """A stream that fails while others get through is itself at fault."""
    api = Api()
    api.poison = {"eve"}
    poison = [f"order-{number}" for number in (3, 17, 40)]
    streams = [f"order-{number}" for number in range(120)]
    source = Given(*[orders(name, 1, customer="eve" if name in poison else "ann") for name in streams])

    with working(url, api) as running:
        go_on(running, source, api, lambda: not source.batches)
        for number in itertools.count(120):  # a stream that is alone is not judged
            source.batches.append(orders(f"order-{number}", 1))
            go_on(running, source, api, lambda: not source.batches)
            if len(letters(url)) == len(poison):
                break

    assert [stream for stream, _, _ in letters(url)] == sorted(poison)
    assert api.calls.count("eve") < 60


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), HTTPError("http://rates", 422, "no", None, None), KeyError("x")],  # type: ignore[arg-type]
    ids=["ValueError", "HTTP 422", "KeyError"],
)
def test_an_error_about_the_event_opens_no_breaker(url: str, error: Exception) -> None:
    """It has its attempts, then it is parked, and nobody else waits."""
    api = Api()
    source = Given([*orders("order-1", 1), *orders("order-2", 1, customer="eve")])
    api.away = lambda: error

    with working(url, api) as running:
        go_on(running, source, api, lambda: len(source.acknowledged) == 2)

    assert len(source.acknowledged) == 2
    assert [cause for _, _, cause in letters(url)] == ["failed", "failed"]


def test_try_later_says_when(url: str) -> None:
    """Nothing is called before."""
    api = Api()
    api.away = lambda: TryLater(100)
    source = Given(orders("order-1", 1), orders("order-2", 1))

    with working(url, api) as running:
        go_on(running, source, api, lambda: not source.batches)
        for _ in range(50):
            api.clock.now += 1
            running.step(source)

    assert len(api.calls) == 1


def test_waiting_messages_are_bounded_by_bytes(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing more is received while so much waits, and the log says so; then all continues."""
    monkeypatch.setattr(set_aside, "MAX_BYTES", 20_000)
    api = Api()
    api.away = AWAY[0]
    source = Given(*[orders(f"order-{number}", 5, customer=f"c{number}") for number in range(20)])

    with working(url, api) as running:
        go_on(running, source, api, lambda: len(api.calls) > 3)
        assert len(source.batches) > 10
        api.away = None
        go_on(running, source, api, lambda: len(source.acknowledged) == 100)

    assert caplog.text.count("receives nothing more") == 1
    assert set(checkpoints(url).values()) == {(5, False)}


def test_the_store_is_read_again_from_below_the_waiting_events(url: str) -> None:
    """The position that is saved leaves out nothing that was not applied."""
    api = Api()
    api.away = AWAY[0]

    class Store(Given):
        """A source with positions."""

        position = 9  # type: ignore[assignment]

    batch = [message("order-1", 1, Left("ann")), *orders("order-2", 1), message("order-3", 1, Left("b"))]
    for place, item in enumerate(batch, start=5):
        item.tag = place
    source = Store(batch)

    with working(url, api) as running:
        go_on(running, source, api, lambda: not source.batches)
        assert rows(url, "select position from eventkit.projections") == [(5,)]
        api.away = None
        go_on(running, source, api, lambda: rows(url, "select position from eventkit.projections") == [(9,)])


def test_a_redrive_that_meets_an_outage_stays_requested(url: str) -> None:
    """The stream stays parked, and its letters are not marked as failed again."""
    api = Api()
    source = Given(orders("order-1", 1))
    with working(url, api) as running:
        api.away = lambda: ValueError("a bug")
        go_on(running, source, api, lambda: len(source.acknowledged) == 1)
        api.away = AWAY[0]
        with running_asked(url):
            assert running.redrives.serve() == 0
            assert letters(url) == [("order-1", 1, "failed")]
            api.away = None
            api.clock.now += 100
            assert running.redrives.serve() == 1

    assert letters(url) == []


@contextmanager
def running_asked(url: str) -> Iterator[None]:
    """Ask for a redrive of order-1."""
    with connect(url, name="operator", autocommit=True) as connection:
        connection.execute(
            "insert into eventkit.redrives (parked_by, stream, asked_by)"
            " select parked_by, stream, 'ann' from eventkit.dead_letters"
        )
    yield
