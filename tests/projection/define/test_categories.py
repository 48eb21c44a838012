"""A projection that declares categories reads those wherever from: live, inline and rebuilt it is the same fold."""

from collections.abc import Callable

import psycopg
import pytest

from eventkit import EventStore, Inline, TableProjection
from eventkit.config import Settings
from eventkit.errors import ProjectionError
from eventkit.projection.define.projection import Projection
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from eventkit.projection.run.sources import StoreSource
from eventkit.projection.wait_for import wait_for
from eventkit.storage.events.event_store import Append
from tests.projection.shop import TOTALS as TABLE
from tests.projection.shop import Ordered, Total, apply, checkpoints, letters, projector, rows, sent, shop
from tests.waiting import wait_until

BOTH = [Append("order-1", [Ordered("ann", 1)]), Append("cart-1", [Ordered("ann", 1), Ordered("bob", -1)])]


def ordering() -> Projection:
    """Return totals of orders alone."""
    projection = TableProjection("totals", shop, table=TABLE, key="customer", categories=["order"])

    @projection.on(Ordered)
    def ordered(row: Total, event: Ordered) -> None:
        row.orders += 1
        row.amount += event.amount

    return projection


def append(url: str, store: EventStore) -> None:
    """Append to an order and to a cart."""
    with psycopg.connect(url) as connection:
        store.append_many(connection, BOTH)


def from_transport(url: str) -> None:
    """Apply messages."""
    append(url, EventStore(shop))
    apply(url, [*sent(url, "cart-1"), *sent(url, "order-1")], projection=ordering())


def from_store(url: str) -> None:
    """Apply the events of the store."""
    append(url, EventStore(shop))
    with projector(url, ordering()) as running, psycopg.connect(url, autocommit=True) as connection:
        source = StoreSource(connection, "eventkit", after=0)
        wait_until(lambda: not running.step(source) and source.position == 3)


def inline(url: str) -> None:
    """Apply in the append."""
    append(url, EventStore(shop, inline=Inline(ordering())))


def rebuilt(url: str) -> None:
    """Rebuild; the live read model has followed carts, and parked one, before it declared that it does not."""
    append(url, EventStore(shop))
    apply(url, sent(url, "cart-1"))
    assert letters(url) == [("cart-1", 2, "failed")]
    RebuildRun(ordering(), Settings(database_url=url), RebuildPlan()).run()


@pytest.mark.parametrize("feed", [from_transport, from_store, inline, rebuilt])
def test_events_of_another_category_are_not_read(url: str, feed: Callable[[str], None]) -> None:
    """They are not folded, and have no checkpoint; pruning looks at the declared categories."""
    feed(url)

    assert rows(url) == [("ann", 1, 1)]
    assert (checkpoints(url), letters(url)) == ({"order-1": (1, False)}, [])
    assert rows(url, "select categories from eventkit.projections") == [(["order"],)]


def test_events_that_are_never_read_are_not_waited_for(url: str) -> None:
    """A caller gets an error at once."""
    with psycopg.connect(url) as connection:
        appended = EventStore(shop).append(connection, "cart-1", Ordered("ann", 1))

        with pytest.raises(ProjectionError, match="reads the categories order: it will never apply an event of 'cart"):
            wait_for(connection, ordering(), appended, timeout=600)
