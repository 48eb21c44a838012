"""A small shop: the events, the store and the questions that the tests of this room share."""

from dataclasses import dataclass

import psycopg
from psycopg import Connection

from eventkit.domain.catalog.catalog import Catalog
from eventkit.domain.stream import StreamId
from eventkit.storage.events.event_store import EventStore

shop = Catalog("shop", topics={"invoice": "shop.billing"})


@shop.event
@dataclass(frozen=True)
class Placed:
    """An event with a number as its identity."""

    n: int = 0
    note: str = ""


store = EventStore(shop)
ORDER = shop.stream("order", 1)
OTHER = shop.stream("order", 2)


def order(key: int | str) -> StreamId:
    """Return the stream of an order."""
    return shop.stream("order", key)


def sqlalchemy_url(url: str) -> str:
    """Return the URL as SQLAlchemy wants it."""
    return url.replace("postgresql://", "postgresql+psycopg://")


def written(url: str) -> dict[str, list[int]]:
    """Return the committed events, each stream with its numbers, once the tables agree with each other."""
    with psycopg.connect(url) as connection:
        check_tables(connection)
        rows = connection.execute(
            "select stream, array_agg((data->>'n')::int order by version) from eventkit.events group by 1"
        )
        return dict(rows.fetchall())


def check_tables(connection: Connection) -> None:
    """Assert that streams, events and outbox say the same, and that positions ascend with versions."""
    differing = connection.execute(
        """select stream, s.version, e.last, e.count, e.ascending
             from eventkit.streams s full join (
               select stream, max(version) as last, count(*) as count, bool_and(rising) as ascending
                 from (select stream, version, position > lag(position, 1, 0::bigint)
                       over (partition by stream order by version) as rising from eventkit.events) v
                group by stream) e using (stream)
            where (s.version = e.last and e.last = e.count and e.ascending) is not true"""
    ).fetchall()
    unsent = connection.execute(
        "select e.position, o.position from eventkit.events e full join eventkit.outbox o using (position)"
        " where e.position is null or o.position is null"
    ).fetchall()
    assert (differing, unsent) == ([], [])
