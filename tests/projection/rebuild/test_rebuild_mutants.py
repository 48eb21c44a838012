"""Wrong swaps: each mutant must be caught by the very test that the real code passes."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from eventkit.config import Settings
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from eventkit.projection.rebuild.swap import Swap
from eventkit.storage.projections import registry
from eventkit.storage.projections.checkpoints import Checkpoints, Span
from eventkit.storage.projections.registry import ProjectionRegistry
from tests.projection.recorded import record
from tests.projection.shop import checkpoints, orders, projector, rows, totals
from tests.waiting import wait_until

Patch = pytest.MonkeyPatch


def wrong(url: str, patch: Patch) -> list[str]:
    """Let a batch of the live generation be under way while a rebuild is swapped in; return the faults.

    The batch has read its generation and waits; the swap goes as far as it can; the batch continues; then the swap.
    """
    record(url, orders("order-1", 3), orders("order-2", 2, customer="bob"))
    with _batch_under_way(url, patch) as finish:
        done = threading.Event()
        rebuild = threading.Thread(target=_rebuild, args=(url, done))
        rebuild.start()
        wait_until(lambda: done.is_set() or _waits_for_a_lock(url), timeout=60, what="the swap at its lock or through")
        record(url, orders("order-1", 1, first=4))
        finish()
        rebuild.join(60)
    swapped = rows(url)  # the batch is acknowledged: nobody delivers it again
    with projector(url) as running:
        running.apply([*orders("order-1", 5), *orders("order-2", 2, customer="bob")])
    found = {"swapped": swapped, "rows": rows(url), "checkpoints": checkpoints(url)}
    wanted = {
        "swapped": [("ann", 4, 4), ("bob", 2, 2)],
        "rows": [("ann", 5, 5), ("bob", 2, 2)],
        "checkpoints": {"order-1": (5, False), "order-2": (2, False)},
    }
    return [f"{name}: {value}" for name, value in found.items() if value != wanted[name]]


@contextmanager
def _batch_under_way(url: str, patch: Patch) -> Iterator[Callable[[], None]]:
    inside, go_on = threading.Event(), threading.Event()
    advance = Checkpoints.advance

    def paused(
        self: Checkpoints, connection: psycopg.Connection[Any], generation: int, spans: Sequence[Span]
    ) -> set[str]:
        if threading.current_thread() is batch:
            inside.set()
            assert go_on.wait(60)
        return advance(self, connection, generation, spans)

    def apply() -> None:
        with projector(url) as running:
            running.apply(orders("order-1", 4))

    batch = threading.Thread(target=apply)
    patch.setattr(Checkpoints, "advance", paused)
    batch.start()
    assert inside.wait(60)

    def finish() -> None:
        go_on.set()
        batch.join(60)

    yield finish


def _rebuild(url: str, done: threading.Event) -> None:
    RebuildRun(totals(), Settings(database_url=url), RebuildPlan()).run()
    done.set()


def _waits_for_a_lock(url: str) -> bool:
    return bool(
        rows(url, "select 1 from pg_stat_activity where application_name ~ 'rebuild' and wait_event_type = 'Lock'")
    )


def test_a_batch_under_way_is_in_the_swapped_read_model(url: str, monkeypatch: Patch) -> None:
    """The swap waits for it, and compares the checkpoints when it is through."""
    assert wrong(url, monkeypatch) == []


def without_comparing(patch: Patch) -> None:
    """Swap without comparing."""
    patch.setattr(Swap, "_catch_up", lambda *_: 0)


def comparing_before_the_lock(patch: Patch) -> None:
    """Compare first, then lock."""
    run, catch_up = Swap.run, Swap._catch_up

    def early(self: Swap, position: int) -> Any:  # noqa: ANN401 the result of the original
        with self._applier.workspace.transaction() as connection:
            live = self._applier.projections.fence(connection, "totals")
            assert live is not None
            catch_up(self, connection, live)
        return run(self, position)

    patch.setattr(Swap, "run", early)
    patch.setattr(Swap, "_catch_up", lambda *_: 0)


def _fence(patch: Patch, part: str, instead: str) -> None:
    assert part in registry._HOLD_GENERATION
    patch.setattr(registry, "_HOLD_GENERATION", registry._HOLD_GENERATION.replace(part, instead))


def generation_without_lock(patch: Patch) -> None:
    """Read the generation, and hold nothing."""
    _fence(patch, "pg_advisory_xact_lock_shared(%(gate)s, %(key)s)", "null")
    _fence(patch, " for key share", "")


@pytest.mark.parametrize("mutate", [without_comparing, comparing_before_the_lock, generation_without_lock])
def test_a_wrong_swap_is_caught(url: str, mutate: Callable[[Patch], None], monkeypatch: Patch) -> None:
    """Events are lost, or applied twice, or a checkpoint goes back."""
    mutate(monkeypatch)

    assert wrong(url, monkeypatch) != []


def gate_left_open(patch: Patch) -> None:
    """Share the row, and queue for nothing."""
    _fence(patch, "pg_advisory_xact_lock_shared(%(gate)s, %(key)s)", "null")


@pytest.mark.parametrize("mutate", [None, gate_left_open])
def test_a_swap_gets_its_turn_among_batches_that_never_pause(
    url: str, mutate: Callable[[Patch], None] | None, monkeypatch: Patch
) -> None:
    """Row locks are not fair: while the row is always shared by somebody, the queue before it lets a swap in."""
    if mutate:
        mutate(monkeypatch)
    with projector(url), _never_pausing(url), psycopg.connect(url) as connection:
        connection.execute("set statement_timeout = '4s'" if mutate else "set statement_timeout = '60s'")
        try:
            got = ProjectionRegistry("eventkit").take(connection, "totals") is not None
        except psycopg.errors.QueryCanceled:
            got = False

    assert got is (mutate is None)


@contextmanager
def _never_pausing(url: str) -> Iterator[None]:
    """Hold the fence in several transactions that overlap: the last that holds it waits for another, for a while."""
    over, begun, holds = threading.Event(), threading.Barrier(5), threading.Condition()
    holding: set[int] = set()

    def hold(connection: psycopg.Connection[Any], number: int) -> None:
        ProjectionRegistry("eventkit").fence(connection, "totals")
        with holds:
            holding.add(number)
            holds.notify_all()

    def batches(number: int) -> None:
        with psycopg.connect(url) as connection:
            hold(connection, number)
            begun.wait(60)
            while not over.wait(0.05):
                with holds:
                    holds.wait_for(lambda: len(holding) > 1, 2)
                    holding.remove(number)
                connection.commit()
                hold(connection, number)

    threads = [threading.Thread(target=batches, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    begun.wait(60)
    yield
    over.set()
    for thread in threads:
        thread.join(60)
