"""`python -m benchmarks.memory_readers READER URL EVENTS`: programs that read a store, for the memory benchmark.

Each reads all of its events once, in the way that its name says.
"""

import sys
from collections.abc import Callable

import psycopg

from benchmarks.orders import ItemOrdered, catalog, order_totals
from eventkit import EventStore
from eventkit.projection.inline import Inline

_STREAM = "order-all"
# The events of ten streams become one stream of this database, which nobody has followed so far.
_MOVE = """
insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
select gen_random_uuid(), source, %(stream)s, row_number() over (order by position), type, schema_version, data,
       metadata
  from eventkit.events order by position limit 200"""
_RAISE = "insert into eventkit.streams (stream, version) values (%s, %s)"


def read_all(url: str, events: int) -> int:
    """Read everything by position."""
    with psycopg.connect(url) as connection:
        return sum(1 for _ in EventStore(catalog).read_all(connection, limit=events))


def read_backwards(url: str, events: int) -> int:
    """Read everything, newest first."""
    with psycopg.connect(url) as connection:
        return sum(1 for _ in EventStore(catalog).read_all(connection, backwards=True, limit=events))


def subscribe(url: str, events: int) -> int:
    """Follow the store from its beginning."""
    with EventStore(catalog).subscribe(url) as subscription:
        for number, _ in enumerate(subscription, start=1):
            if number == events:
                break
    return events


def inline(url: str, events: int) -> int:
    """Read a stream, and append to it where a projection that never followed it is applied inline."""
    with psycopg.connect(url) as connection:
        count = connection.execute(_MOVE, {"stream": _STREAM}).rowcount
        connection.execute(_RAISE, (_STREAM, count))
        stream = catalog.stream("order", "all")
        store = EventStore(catalog, inline=Inline(order_totals))
        read = sum(1 for _ in store.read_stream(connection, stream))
        store.append(connection, stream, ItemOrdered(_STREAM, "c", 1, ""))
        connection.rollback()
    return events if read == count else 0


READERS: dict[str, Callable[[str, int], int]] = {
    "read_all": read_all,
    "read_backwards": read_backwards,
    "subscribe": subscribe,
    "inline": inline,
}

if __name__ == "__main__":
    reader, address, number = sys.argv[1:]
    found = READERS[reader](address, int(number))
    if found != int(number):
        sys.exit(f"{reader} has read {found} of {number} events")
