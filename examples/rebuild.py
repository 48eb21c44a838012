"""A read model is rebuilt while it is served: its fold changes, and every event is folded again from the first.

$ python -m eventkit.embedded                                # or a PostgreSQL of yours; paste the lines it prints
$ eventkit db upgrade
$ python -m examples.rebuild                                 # records sales and folds them, then changes its mind
$ eventkit projection rebuild examples.rebuild:sales         # the same from the command line, with a bar
$ eventkit projection list
"""

from dataclasses import dataclass
from typing import Protocol

import psycopg
from sqlalchemy import Column, Integer, MetaData, Table, Text

from eventkit import Catalog, EventStore, TableProjection, load_settings
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun

shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class ItemSold:
    item: str
    cents: int


class Sales(Protocol):
    """A row of the read model."""

    sold: int
    cents: int


TABLE = Table(
    "sales",
    MetaData(),
    Column("item", Text, primary_key=True),
    Column("sold", Integer, nullable=False, server_default="0"),
    Column("cents", Integer, nullable=False, server_default="0"),
)

# Version 1 counted; version 2 sums up, too. A projector with the new code applies nothing until the rebuild, and one
# with the old code nothing after it: two folds are never mixed.
sales = TableProjection("sales", shop, table=TABLE, key="item", version=2)


@sales.on(ItemSold)
def sold(row: Sales, event: ItemSold) -> None:
    row.sold += 1
    row.cents += event.cents


def main() -> None:
    """Record some sales, and rebuild their read model."""
    settings = load_settings()
    with psycopg.connect(settings.require_database()) as connection:
        connection.execute(
            "create table if not exists sales (item text primary key, sold int not null default 0,"
            " cents int not null default 0)"
        )
        for number in range(100):
            item = ("tea", "milk", "honey")[number % 3]
            store.append(connection, shop.stream("till", number % 10), ItemSold(item, 100 + number))
    done = RebuildRun(sales, settings, RebuildPlan()).run()
    print(f"{done.events} events folded anew, swapped in as generation {done.generation}")
    with psycopg.connect(settings.require_database()) as connection:
        for row in connection.execute("select item, sold, cents from sales order by item"):
            print(*row)


if __name__ == "__main__":
    main()
