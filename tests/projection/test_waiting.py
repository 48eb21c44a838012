"""Read your own write: a caller waits until a projection has applied its events, or gets the reason at once."""

import threading

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from eventkit import Appended, EventStore
from eventkit.errors import NotApplied, ProjectionError, StreamParked, UnsupportedConnection, VersionMismatch
from eventkit.projection.wait_for import wait_for, wait_for_async
from tests.projection.shop import Ordered, apply, message, orders, projector, rows, shop, totals

SHOP = EventStore(shop)


def append(url: str, stream: str = "order-1", count: int = 1) -> Appended:
    """Append orders and commit."""
    with psycopg.connect(url) as connection:
        return SHOP.append(connection, stream, *(Ordered("ann", 1) for _ in range(count)))


def test_a_caller_reads_its_own_write(url: str) -> None:
    """It returns when the event is applied, not before."""
    with projector(url) as running, psycopg.connect(url, autocommit=True) as connection:
        appended = append(url)
        batch = threading.Timer(0.1, lambda: running.apply(orders("order-1", 1)))
        batch.start()

        wait_for(connection, totals(), appended, timeout=60)

        assert rows(url) == [("ann", 1, 1)]
        batch.join()


async def test_an_asynchronous_caller_reads_its_own_write(url: str) -> None:
    """On an AsyncConnection as on a psycopg one, several streams at a time."""
    appended = [append(url, "order-1", 2), append(url, "order-2")]
    apply(url, orders("order-1", 2), orders("order-2", 1))

    engine = create_async_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    async with engine.connect() as connection:
        await wait_for_async(connection, totals(), appended, timeout=60)
    await engine.dispose()
    async with await psycopg.AsyncConnection.connect(url) as other:
        await wait_for_async(other, totals(), appended[0], timeout=60)


def test_an_event_that_is_not_applied_in_time_is_reported_with_its_version(url: str) -> None:
    """A timeout names the stream and how far it is."""
    apply(url, orders("order-1", 1))
    append(url)
    appended = append(url)

    with (
        psycopg.connect(url) as connection,
        pytest.raises(NotApplied, match=r"'order-1' up to version 1 after 0\.05 s"),
    ):
        wait_for(connection, totals(), appended, timeout=0.05)


def test_an_event_that_will_never_be_applied_is_an_error_at_once(url: str) -> None:
    """Nobody runs it, another version is live, the stream is parked, or the snapshot is fixed."""
    appended = append(url)
    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(ProjectionError, match="start its projector"):
            wait_for(connection, totals(), appended, timeout=600)
        apply(url, [message("order-1", 1, Ordered("eve", -1))])
        with pytest.raises(VersionMismatch, match="declared with version 2, live is version 1"):
            wait_for(connection, totals(version=2), appended, timeout=600)
        with pytest.raises(StreamParked, match="'order-1' is parked in projection 'totals' after version 0"):
            wait_for(connection, totals(), appended, timeout=600)
        with connection.transaction():
            connection.execute("set transaction isolation level repeatable read")
            with pytest.raises(UnsupportedConnection, match="REPEATABLE READ: its snapshot"):
                wait_for(connection, totals(), appended, timeout=600)
