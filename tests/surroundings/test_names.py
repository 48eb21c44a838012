"""A projection's row remembers which one it is: another one under its name is refused, with both named."""

import psycopg
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text

from eventkit import Catalog, SqlProjection, TableProjection
from eventkit.errors import NameTaken
from tests.projection.shop import TOTALS, rows, shop
from tests.surroundings.rig import acting, execute, found, order, projected, totals

OTHER = Table("others", MetaData(), Column("customer", Text, primary_key=True), Column("orders", Integer, default=0))
other_shop = Catalog("other")


ANOTHER = {
    "another kind": (SqlProjection("totals", shop, tables=["totals"], categories=["order"]), "SQL projection"),
    "another catalog": (TableProjection("totals", other_shop, table=TOTALS, key="customer"), "catalog 'other'"),
    "another table": (
        TableProjection("totals", shop, table=OTHER, key="customer", categories=["order"]),
        "writes public.others",
    ),
    "other categories": (totals("refund"), "reads refund"),
    "more categories": (totals("order", "refund"), "raise its version="),
    "all categories": (totals(), "raise its version="),
    "another table in another version": (
        TableProjection("totals", shop, table=OTHER, key="customer", categories=["order"], version=2),
        "writes public.others",
    ),
}


@pytest.mark.parametrize("another", ANOTHER, ids=str)
def test_another_projection_under_a_name_is_refused(url: str, another: str) -> None:
    """It shares no checkpoints with the first; both are named, and nothing is changed."""
    execute(url, "create table others (customer text primary key, orders int not null)")
    projected(url, None, totals("order"))
    before = found(url, "select * from eventkit.projections")
    projection, said = ANOTHER[another]

    with pytest.raises(NameTaken, match=r"the table projection .* writes public\.totals, reads order; .*") as refused:
        projected(url, None, projection)

    assert said in str(refused.value)
    assert found(url, "select * from eventkit.projections") == before


def test_a_table_that_was_moved_is_the_same_projection(url: str) -> None:
    """The row learns the table's new place."""
    projected(url, None, totals("order"))
    execute(url, "create schema app", "alter table totals set schema app")

    with psycopg.connect(url) as connection:
        database = connection.info.dbname
    execute(url, f'alter database "{database}" set search_path = app')
    projected(url, None, totals("order"))

    assert found(url, "select tables from eventkit.projections") == [(["app.totals"],)]


def test_handlers_of_more_categories_read_the_new_ones_from_their_beginning(url: str) -> None:
    """Past effects are not repeated."""
    order(url, "order", 1, 2)
    order(url, "refund", 1, customer="bob")
    projected(url, None, acting("order"))
    assert rows(url, "select customer, orders from totals") == [("ann", 2)]

    projected(url, None, acting("order", "refund"))

    assert rows(url, "select customer, orders from totals order by 1") == [("ann", 2), ("bob", 1)]


def test_handlers_of_other_categories_are_others(url: str) -> None:
    """Two services that name their handlers alike get an error."""
    projected(url, None, acting("order"))

    with pytest.raises(NameTaken, match=r"reads order; .* reads refund"):
        projected(url, None, acting("refund"))
