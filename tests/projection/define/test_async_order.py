"""`async def` handlers under any interleaving: each event takes effect once, in the order of its stream."""

import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from eventkit import Handlers, TryLater
from eventkit.domain.envelope import Envelope
from eventkit.domain.message import Message
from eventkit.projection.failure.breaker import Breakers
from eventkit.projection.failure.set_aside import SetAside
from eventkit.projection.run.projector import Projector
from tests.projection.shop import Given, Ordered, apply, checkpoints, letters, message, projector, rows, shop
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
STREAMS, EVENTS = 5, 6
EFFECTS = "create table if not exists effects (nth serial, stream text, version int)"
NOTE = text("insert into effects (stream, version) values (:s, :v)")
_counter = iter(range(1_000_000))

# The steps of each call before its effect: it lets others run so often, then fails as if a service were away.
calls = st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=60)
windows = st.tuples(st.integers(0, STREAMS - 1), st.integers(0, EVENTS), st.integers(1, EVENTS))


def noting(behaviour: Iterator[tuple[int, bool]], *, concurrency: int = 3, batch: int = 4_000) -> Handlers:
    """Return handlers that note each event, in a way that is given call by call."""
    work = Handlers("work", shop, concurrency=concurrency, batch=batch)

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered, envelope: Envelope[Ordered]) -> None:
        del event
        pauses, fails = next(behaviour, (0, False))
        for _ in range(pauses):
            await asyncio.sleep(0)
        await connection.execute(NOTE, {"s": str(envelope.stream), "v": envelope.version})
        if fails:
            raise TryLater(0)

    return work


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    behaviour=calls,
    batches=st.lists(st.lists(windows, max_size=8), max_size=5),
    concurrency=st.integers(1, 4),
    batch=st.sampled_from([1, 2, 4_000]),
)
def test_each_event_takes_effect_once_in_the_order_of_its_stream(
    url: str, behaviour: list[tuple[int, bool]], batches: list[list[tuple[int, int, int]]], concurrency: int, batch: int
) -> None:
    """With handlers that give way and fail anywhere, under rewinds and holes; missing events come at last."""
    run = next(_counter)
    logs = [log(f"order-{run}.{number}") for number in range(STREAMS)]
    rows_of(url, EFFECTS)
    source = Given(
        *([item for number, first, count in one for item in logs[number][first : first + count]] for one in batches),
        [item for one in logs for item in one],
    )
    work = noting(iter(behaviour), concurrency=concurrency, batch=batch)

    clock = Clock()
    waiting = SetAside(work.handlers, Breakers("work", clock=clock), clock=clock)
    with projector(url, work, aside=waiting) as running:
        wait_until(lambda: _is_done(running, source, logs, url, clock), timeout=300)

    expected = {one[0].key: list(range(1, EVENTS + 1)) for one in logs}
    assert effects(url, f"order-{run}.%") == expected
    assert letters(url) == []


class Clock:
    """A manual clock: nobody waits for a stream's next try."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _is_done(running: Projector, source: Given, logs: Sequence[Sequence[Message]], url: str, clock: Clock) -> bool:
    clock.now += 1_000
    running.step(source)
    at = checkpoints(url)
    return not source.batches and all(at.get(one[0].key, (0, False))[0] == EVENTS for one in logs)


@pytest.mark.parametrize("point", ["within a handler", "some committed", "acknowledging"])
def test_killed_with_several_handlers_under_way_each_event_takes_effect_once(url: str, point: str) -> None:
    """Lanes that had committed are duplicates to the process that comes after; the others' events are done then."""
    rows_of(url, EFFECTS)
    child = subprocess.run([sys.executable, "-m", __name__, url, point], cwd=ROOT, check=False, timeout=120)
    assert child.returncode == -9
    before = sum(map(len, effects(url, "order-%").values()))

    apply(url, _batch(), projection=noting(iter(())))

    assert (before == 0) == (point == "within a handler")
    assert effects(url, "order-%") == {item.key: list(range(1, EVENTS + 1)) for item in _batch()}


def log(stream: str) -> list[Message]:
    """Return a stream's events."""
    return [message(stream, version, Ordered("ann", 1)) for version in range(1, EVENTS + 1)]


def effects(url: str, pattern: str) -> dict[str, list[int]]:
    """Return the versions that took effect by stream, in the order in which they did."""
    found: dict[str, list[int]] = defaultdict(list)
    for stream, version in rows(url, f"select stream, version from effects where stream like '{pattern}' order by nth"):
        found[stream].append(version)
    return found


def rows_of(url: str, statement: str) -> None:
    """Run a statement."""
    import psycopg  # noqa: PLC0415 the child needs it too

    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def _batch() -> list[Message]:
    return [item for number in range(STREAMS) for item in log(f"order-{number}")]


def _die(*_: object) -> None:
    os.kill(os.getpid(), 9)


def _child(url: str, point: str) -> None:
    """Apply a batch in three lanes, and die at a point of it."""
    work = Handlers("work", shop, concurrency=3)
    done, others = list[int](), asyncio.Event()

    @work.on(Ordered)
    async def ordered(connection: AsyncConnection, event: Ordered, envelope: Envelope[Ordered]) -> None:
        del event
        await connection.execute(NOTE, {"s": str(envelope.stream), "v": envelope.version})
        if envelope.stream.key != "0" and point == "within a handler":
            await others.wait()  # for ever, so that no lane commits
        if envelope.stream.key == "0" and point != "acknowledging":
            await _until(others, url, point)
            _die()
        done.append(envelope.version)
        if len(done) == EVENTS:
            others.set()

    with projector(url, work) as running, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Given, "acknowledge", _die)
        running.step(Given(_batch()))


async def _until(others: asyncio.Event, url: str, point: str) -> None:
    if point == "within a handler":
        return
    await others.wait()
    await asyncio.to_thread(wait_until, lambda: rows(url, "select 1 from effects"), timeout=60)


if __name__ == "__main__":
    _child(*sys.argv[1:])
