"""Inline projections as a service has them: through repositories, beside a projector, and in a process that dies."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text

from eventkit import EventStore, Inline, Repository, Snapshots, TableProjection, retry_on_conflict
from eventkit.projection.define.rows import RowTable
from eventkit.projection.reached import Reached
from tests.aggregates.shop import Added, Order, OrderClosed
from tests.aggregates.shop import shop as orders
from tests.projection.shop import Ordered, checkpoints, message, projector, rows, sent, shop, totals

ROOT = Path(__file__).parents[2]
SHOP = EventStore(shop, inline=Inline(totals()))
ITEMS = Table("items", MetaData(), Column("item", Text, primary_key=True), Column("count", Integer, default=0))
CREATE = "create table items (item text primary key, count int not null)"
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


def repository() -> Repository[Order]:
    """Return orders whose items are counted inline; three items at once are one too many."""
    items = TableProjection("items", orders, table=ITEMS, key="item")

    @items.on(Added)
    def added(row: Order, event: Added) -> None:
        if event.count > 2:
            raise OverflowError(event.item)
        row.count = (row.count or 0) + event.count  # type: ignore[attr-defined]

    store = EventStore(orders, inline=Inline(items))
    return Repository(store, Order, category="order", snapshots=Snapshots(every=2))


def late(order: Order) -> None:
    """Add to an order that was just closed."""
    order.close()
    order.add("tea")


def test_recorded_events_are_in_the_read_model_before_the_commit(database_url: str) -> None:
    """With its snapshots; a decision or a handler that refuses leaves both as they were, and the transaction usable."""
    kept = repository()
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
        with kept.change(connection, 1) as order:
            order.add("tea")
            order.add("cake", 2)
        with pytest.raises(OverflowError), kept.change(connection, 1) as order:
            order.add("tea", 3)
        with pytest.raises(OrderClosed), kept.change(connection, 1) as order:
            late(order)
        with kept.change(connection, 1) as order:
            order.add("tea")
        assert connection.execute("select * from items order by 1").fetchall() == [("cake", 2), ("tea", 2)]

    with psycopg.connect(database_url) as connection:
        assert kept.load(connection, 1) == Order({"tea": 2, "cake": 2})
    assert rows(database_url, "select version from eventkit.snapshots") == [(2,)]


def test_a_retried_unit_of_work_is_in_the_read_model_once(database_url: str) -> None:
    """The attempt that lost has left nothing in it."""
    kept = repository()
    tries: list[int] = []

    def add(connection: psycopg.Connection[Any]) -> None:
        with kept.change(connection, 1) as order:
            tries.append(order.version)
            if len(tries) == 1:
                with psycopg.connect(database_url) as other, kept.change(other, 1) as same:
                    same.add("cake")
            order.add("tea")

    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    retry_on_conflict(lambda: psycopg.connect(database_url), add)

    assert tries == [0, 1]
    assert rows(database_url, "select * from items order by 1") == [("cake", 1), ("tea", 1)]


def test_a_projector_that_reads_the_store_waits_for_no_inline_append(url: str) -> None:
    """A caller may keep its transaction open for as long as it likes: neither projector nor another append waits."""
    with projector(url) as running, psycopg.connect(url) as first, psycopg.connect(url) as second:
        for connection in (running._applier.workspace.connection, second):
            connection.execute("set lock_timeout = '100ms'")
            connection.commit()
        SHOP.append(first, "order-1", Ordered("ann", 1))

        running._applier.save(Reached(1))
        running.apply([message("order-3", 1, Ordered("cy", 1))])
        SHOP.append(second, "order-2", Ordered("bob", 1))
        running._applier.save(Reached(2))
        first.commit()
        second.commit()

    assert rows(url, "select position from eventkit.projections") == [(2,)]
    assert rows(url) == [("ann", 1, 1), ("bob", 1, 1), ("cy", 1, 1)]


@pytest.mark.parametrize(
    "point", ["appended_not_applied", "folded_not_written", "applied_not_kept", "applied_not_committed"]
)
def test_killed_at_a_crash_point_neither_events_nor_read_model_are_there(url: str, point: str) -> None:
    """Done again, both are."""
    command = [sys.executable, "-m", "tests.projection.test_inline_in_service", url, point]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == -9
    assert (rows(url), checkpoints(url), sent(url, "order-1")) == ([], {}, [])

    _append(url)

    assert (rows(url), checkpoints(url)) == ([("ann", 2, 2)], {"order-1": (2, False)})


def _append(url: str) -> None:
    with psycopg.connect(url) as connection:
        SHOP.append(connection, "order-1", Ordered("ann", 1), Ordered("ann", 1))
        _crash_point()


def _crash_point() -> None:
    """Be patched by the child."""


def _child(url: str, point: str) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), 9)

    def apply_and_die(*arguments: object) -> None:
        apply(*arguments)  # type: ignore[arg-type]
        die()

    apply = Inline.apply_appended
    with pytest.MonkeyPatch.context() as patch:
        if point == "applied_not_committed":
            patch.setattr(sys.modules[__name__], "_crash_point", die)
        elif point == "folded_not_written":
            patch.setattr(RowTable, "write", die)
        else:
            patch.setattr(Inline, "apply_appended", die if point == "appended_not_applied" else apply_and_die)
        _append(url)


if __name__ == "__main__":
    _child(sys.argv[1], sys.argv[2])
