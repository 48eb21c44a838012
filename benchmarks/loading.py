"""How long it takes to load an aggregate of a hundred events, without a snapshot, on an open connection."""

import time
from dataclasses import dataclass
from statistics import median

import psycopg

from benchmarks.orders import ItemOrdered, catalog
from eventkit import Aggregate, EventStore, Repository, evolve

EVENTS, LOADS = 100, 300


@dataclass
class Basket(Aggregate):
    """Articles that were ordered together."""

    items: int = 0
    amount: int = 0

    @evolve
    def _ordered(self, event: ItemOrdered) -> None:
        self.items += 1
        self.amount += event.amount


def load_p50_ms(url: str) -> float:
    """Return the median of some hundred loads, in milliseconds."""
    store = EventStore(catalog)
    baskets = Repository(store, Basket, category="basket")
    with psycopg.connect(url) as connection:
        events = [ItemOrdered("basket-1", "ada", number, "a present") for number in range(EVENTS)]
        store.append(connection, "basket-1", *events)
        took = []
        for _ in range(LOADS):
            started = time.perf_counter()
            basket = baskets.load(connection, "1")
            took.append(time.perf_counter() - started)
        if basket.items != EVENTS:
            raise RuntimeError(f"the basket has {basket.items} items, not {EVENTS}")
        connection.rollback()
    return 1_000 * median(took)
