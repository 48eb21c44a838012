"""The service whose events the fault tests append."""

from dataclasses import dataclass
from typing import Any

import psycopg

from eventkit import Appended, Catalog, EventStore
from eventkit.storage.db.connection import connect
from eventkit.storage.outbox.outbox import READING

shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class Noted:
    """Something was noted; `number` identifies its append."""

    number: int
    text: str = ""


TOPIC = shop.topic("order-1")


def order(key: str | int) -> str:
    """Return an order's stream."""
    return str(shop.stream("order", key))


def note(connection: psycopg.Connection[Any], key: str | int, count: int = 1) -> Appended:
    """Append events to an order's stream; the caller commits."""
    return store.append(connection, order(key), *(Noted(number) for number in range(count)))


def reading(url: str) -> psycopg.Connection[Any]:
    """Connect as the relay's reader does."""
    return connect(url, name="relay reader", autocommit=True, options=READING)
