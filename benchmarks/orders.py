"""Data of the consumers' benchmark: orders of some 200 bytes, the read models made of them, and the expected rows.

A catalog and projections as a service would declare them, with nothing done for speed but in `takings_by_customer`,
which takes a run of events at a time, as the documentation advises where statements are many.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self
from uuid import NAMESPACE_OID, uuid5

import msgspec
import sqlalchemy as sa

from eventkit.domain.catalog.catalog import Catalog
from eventkit.domain.envelope import EncodedEvent, Envelope
from eventkit.domain.message import Message, message_of
from eventkit.projection.define.projection import Projection
from eventkit.projection.define.sql import SqlProjection
from eventkit.projection.define.table import TableProjection

CUSTOMERS = 1_000
NOTE = "two of them in blue, wrapped as a present, to be left with the neighbours if nobody is at home in the evening"

catalog = Catalog("bench")
metadata = sa.MetaData()


@catalog.event
class ItemOrdered(msgspec.Struct, frozen=True):
    """Somebody ordered one more item."""

    order: str
    customer: str
    amount: int
    note: str


class Totals(Protocol):
    """A row of either read model."""

    orders: int
    amount: int


def _table(name: str, key: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column(key, sa.Text, primary_key=True),
        sa.Column("orders", sa.Integer, nullable=False, default=0),
        sa.Column("amount", sa.BigInteger, nullable=False, default=0),
    )


def _totals(name: str, table: sa.Table, key: str) -> TableProjection:
    projection = TableProjection(name, catalog, table=table, key=key)

    @projection.on(ItemOrdered)
    def ordered(row: Totals, event: ItemOrdered) -> None:
        row.orders += 1
        row.amount += event.amount

    return projection


order_totals = _totals("order_totals", _table("order_totals", "order"), "order")
customer_totals = _totals("customer_totals", _table("customer_totals", "customer"), "customer")

takings_by_customer = SqlProjection("takings_by_customer", catalog, tables=["takings_by_customer"])
_table("takings_by_customer", "customer")
_ADD = sa.text("""
    insert into takings_by_customer as t
    select * from unnest(cast(:customers as text[]), cast(:orders as int[]), cast(:amounts as bigint[]))
    on conflict (customer) do update set orders = t.orders + excluded.orders, amount = t.amount + excluded.amount
""")


@takings_by_customer.on_batch(ItemOrdered)
def ordered(connection: sa.Connection, run: Sequence[Envelope[ItemOrdered]]) -> None:
    """Add a run of orders to the takings, in one statement."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for envelope in run:
        row = sums[envelope.event.customer]
        row[0] += 1
        row[1] += envelope.event.amount
    names = sorted(sums)
    orders, amounts = [sums[name][0] for name in names], [sums[name][1] for name in names]
    connection.execute(_ADD, {"customers": names, "orders": orders, "amounts": amounts})


PROJECTIONS: dict[str, Projection] = {
    "table": order_totals,
    "shared": customer_totals,
    "sql": takings_by_customer,
}
READ_MODELS = {"table": "order_totals", "shared": "customer_totals", "sql": "takings_by_customer"}
Rows = dict[str, tuple[int, int]]


class Orders(msgspec.Struct, frozen=True):
    """So many events of so many streams, all versions 1 first, then all versions 2, and so on."""

    category: str
    events: int
    streams: int

    @classmethod
    def of(cls, category: str, events: int, streams: int) -> Self:
        """Return about so many: the same number for each stream."""
        return cls(category, max(events // streams, 1) * streams, streams)

    @property
    def topic(self) -> str:
        """Where they go."""
        return catalog.topic(self.category)

    def messages(self) -> Iterator[Message]:
        """Return them as the relay sends them, numbered by tag."""
        for tag, (version, event) in enumerate(self._events()):
            yield message_of(_encoded(version, event), self.topic, tag=tag)

    def totals(self, key: str) -> Rows:
        """Return the rows of a read model, folded here: number and amount by key."""
        rows: Rows = defaultdict(lambda: (0, 0))
        for _, event in self._events():
            orders, amount = rows[getattr(event, key)]
            rows[getattr(event, key)] = (orders + 1, amount + event.amount)
        return dict(rows)

    def _events(self) -> Iterator[tuple[int, ItemOrdered]]:
        for number in range(self.events):
            version, stream = number // self.streams + 1, number % self.streams
            customer = f"customer-{(7 * stream + version) % CUSTOMERS}"
            yield version, ItemOrdered(f"{self.category}-{stream}", customer, 100 + number % 977, NOTE)


def _encoded(version: int, event: ItemOrdered) -> EncodedEvent:
    kind, schema_version, data, _ = catalog.encode(event)
    text: Any = data
    return EncodedEvent(
        id=str(uuid5(NAMESPACE_OID, f"{event.order} {version}")),
        source=catalog.name,
        stream=event.order,
        version=version,
        type=kind,
        schema_version=schema_version,
        data=text,
        time=f"2026-01-01T00:00:00.{f'{version * 7919 % 1_000_000:06}'.rstrip('0') or '0'}+00:00",  # as PostgreSQL does
    )
