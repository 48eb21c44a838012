"""The projections that the tests name to `eventkit projector run`."""

from sqlalchemy import MetaData, Table

from eventkit.projection.define.sql import SqlProjection
from eventkit.projection.define.table import TableProjection
from tests.projection.shop import TOTALS, Ordered, Total, shop
from tests.projection.shop import totals as make

totals = make()
both = (make("first"), make("second"))
noted = SqlProjection("noted", shop)  # needs no table
nothing: list[object] = []
number = 3

mended = TableProjection("totals", shop, table=TOTALS, key="customer")  # as `totals`, without its refusals


@mended.on(Ordered)
def ordered(row: Total, event: Ordered) -> None:
    """Count."""
    row.orders += 1
    row.amount += max(event.amount, 0)


newer = make(version=2)
first = make("first")
absent = TableProjection(
    "absent", shop, table=Table("absent", MetaData(), *(column._copy() for column in TOTALS.columns)), key="customer"
)


@absent.on(Ordered)
def missed(row: Total, event: Ordered) -> None:
    """Count."""
    row.orders += 1
    row.amount += event.amount
