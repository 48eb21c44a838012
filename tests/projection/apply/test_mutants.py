"""Wrong locks and comparisons: each mutant must be caught by the very test that the real code passes."""

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest

from eventkit.projection.apply.applier import BatchApplier, Stopped
from eventkit.projection.apply.parking import LockedStream
from eventkit.projection.batch import Run, spans
from eventkit.projection.counters import Counters
from eventkit.projection.define import row_sql
from eventkit.projection.define.rows import RowTable
from eventkit.projection.retry_policy import Backoff
from eventkit.storage.projections import checkpoints
from tests.projection.apply.test_parking import (
    test_a_stream_is_parked_only_right_below_the_failing_event as parking_compares,
)
from tests.projection.attack import attack
from tests.projection.shop import KNOWN, letters

ROUNDS = 40  # the rarest takes five of them on average

Patch = pytest.MonkeyPatch


def compare_below(patch: Patch) -> None:
    """Advance whenever the version grows, instead of exactly from the version before."""
    wrong = checkpoints.ADVANCE.replace(
        "(k.stream, k.version + 1) in (select s, f from x)", "k.version < excluded.version"
    )
    assert wrong != checkpoints.ADVANCE
    patch.setattr(checkpoints, "ADVANCE", wrong)


def rows_before_checkpoint(patch: Patch) -> None:
    """Read the rows before the checkpoints are locked."""

    def apply(self: BatchApplier, runs: Sequence[Run], done: Counters, *, reached: object = None) -> list[Stopped]:
        del done, reached
        with self.workspace.transaction() as connection:
            live = self.fence(connection)
            found = connection.execute("select customer, orders, amount from totals").fetchall()
            early = {row[0]: row for row in found}
            advanced = self.checkpoints.advance(connection, live.generation, spans(runs))
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(RowTable, "load", lambda table, *_: _Rows(table, early))
                self.fold([a for run in runs if run.stream in advanced for a in run.arrivals], Counters())
        return [Stopped(run, None) for run in runs if run.stream not in advanced]

    patch.setattr(BatchApplier, "apply", apply)
    patch.setattr(RowTable, "load", RowTable.load)  # put back at the end: two threads' contexts may leave either


class _Rows(dict[Any, Any]):
    """Rows as they were read, new ones for those that were not there."""

    def __init__(self, table: RowTable, found: dict[Any, tuple[Any, ...]]) -> None:
        super().__init__()
        self._table, self._found = table, found

    def __missing__(self, key: str) -> object:
        self[key] = self._table.row(*self._found.get(key, (key, 0, 0)), key)
        return self[key]


def _created(self: RowTable, connection: psycopg.Connection[Any], name: str, keys: Sequence[Any]) -> None:
    del self, name
    connection.execute(
        "insert into totals select k, 0, 0 from unnest(%s::text[]) k order by 1 on conflict do nothing", (keys,)
    )


def _loading(suffix: str) -> Callable[..., _Rows]:
    def load(self: RowTable, connection: psycopg.Connection[Any], name: str, keys: Sequence[Any]) -> _Rows:
        del name
        statement = f"select customer, orders, amount from totals where customer = any(%s) order by 1 {suffix}"
        return _Rows(self, {row[0]: row for row in connection.execute(statement.encode(), (keys,))})

    return load


def rows_unlocked(patch: Patch) -> None:
    """Create missing rows, and read them without a lock."""
    patch.setattr(RowTable, "lock", _created)
    patch.setattr(RowTable, "load", _loading(""))


def rows_created_then_locked(patch: Patch) -> None:
    """Create missing rows, then `for update`: another process's handler deletes in between."""
    patch.setattr(RowTable, "lock", _created)
    patch.setattr(RowTable, "load", _loading("for update"))


def known_rows_unlocked(patch: Patch) -> None:
    """Read the rows that are there without a lock."""
    patch.setattr(row_sql, "_TAKE", row_sql._TAKE.removesuffix("for update of t"))


def known_rows_over_others(patch: Patch) -> None:
    """Take a new row for written where another process has created it meanwhile."""
    create = RowTable._create

    def written(*given: Any) -> set[Any]:  # noqa: ANN401 the method's
        create(*given)
        return set()

    patch.setattr(RowTable, "_create", written)


@pytest.mark.parametrize("mutate", [known_rows_unlocked, known_rows_over_others])
def test_a_mutant_of_rows_that_are_written_once_is_caught(
    url: str, mutate: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    """The same for a table whose new rows are known."""
    mutate(monkeypatch)

    assert any(attack(url, seed, KNOWN) for seed in range(ROUNDS))


@pytest.mark.parametrize("mutate", [compare_below, rows_before_checkpoint, rows_unlocked, rows_created_then_locked])
def test_a_mutant_is_caught(url: str, mutate: Callable[[Patch], None], monkeypatch: Patch) -> None:
    """Two processes make the read model wrong, in one of so many rounds at the latest."""
    mutate(monkeypatch)

    assert any(attack(url, seed) for seed in range(ROUNDS))


def test_parking_without_comparing_the_version_is_caught(url: str, monkeypatch: Patch) -> None:
    """A zombie would park a stream whose event another process has applied."""
    monkeypatch.setattr(Backoff, "pause", lambda _, attempt: 0.001 * attempt)
    monkeypatch.setattr(LockedStream, "is_next", lambda *_: True)

    with pytest.raises(AssertionError):
        parking_compares(url)

    assert letters(url) != []
