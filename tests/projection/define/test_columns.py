"""The allowed types, defaults and names of a user's table. They work as in SQLAlchemy, or are refused when declared."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from eventkit.errors import ProjectionError
from eventkit.projection.define.table import TableProjection
from tests.projection.shop import Ordered, apply, letters, message, rows, shop


class Code(sa.types.TypeDecorator[str]):
    """A decorated text."""

    impl = sa.String(3)
    cache_ok = True


class Longer(Code):
    """Makes a text longer than its column."""

    def process_bind_param(self, value: str | None, _dialect: object) -> str | None:
        """Add to it."""
        return None if value is None else value + "!"


class Twice(sa.types.TypeDecorator[str]):
    """A decorator of a decorator."""

    impl = Code
    cache_ok = True


class Lowered(sa.types.TypeDecorator[str]):
    """A text that an SQL function changes when it is written."""

    impl = sa.Text
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        """Write it in small letters."""
        return sa.func.lower(bindparam)


class Raised(sa.types.TypeDecorator[str]):
    """A text that an SQL function changes when it is read."""

    impl = sa.Text
    cache_ok = True

    def column_expression(self, column: Any) -> Any:
        """Read it in capitals."""
        return sa.func.upper(column)


def table(*columns: sa.Column[Any], key: sa.Column[Any] | None = None) -> sa.Table:
    """Make a table with a key and a counter."""
    first = key if key is not None else sa.Column("id", sa.Text, primary_key=True)
    return sa.Table("things", sa.MetaData(), first, sa.Column("n", sa.Integer, default=0), *columns)


def projection_of(table: sa.Table, fold: Callable[[Any, Ordered], object]) -> TableProjection:
    """Declare a projection that counts, and calls `fold`."""
    projection = TableProjection("things", shop, table=table, key=next(iter(table.primary_key.columns)).key)

    @projection.on(Ordered, key=lambda event: event.customer)
    def ordered(row: Any, event: Ordered) -> None:
        row.n += 1
        fold(row, event)

    return projection


def create(url: str, table: sa.Table) -> None:
    """Create the table."""
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    table.metadata.create_all(engine)
    engine.dispose()


EXTENSIONS = {pg.CITEXT: "citext", pg.HSTORE: "hstore"}
CUT: list[tuple[Any, str, str]] = [
    (sa.String(3), "EURO", "EURX"), (Code, "EURO", "EURX"), (Twice, "EURO", "EURX"), (sa.CHAR(3), "EURO", "EURX"),
    (sa.String(9).with_variant(sa.String(3), "postgresql"), "EURO", "EURX"), (pg.BIT(3), "1011", "1010"),
    (pg.BIT(3, varying=True), "1011", "1010"), (pg.DOMAIN("short", sa.String(3)), "EURO", "EURX"),
    (sa.Numeric(10, 2), "1.001", "1.002"), (sa.Unicode(3), "EURO", "EURX"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "one", "other"), CUT)
@pytest.mark.parametrize("together", [True, False])
def test_two_keys_are_never_cut_into_one_row(
    database_url: str, kind: Any, one: str, other: str, together: bool
) -> None:
    """A key that does not fit its column parks its stream, in one batch with another as alone."""
    things = table(key=sa.Column("id", kind, primary_key=True))
    create(database_url, things)
    projection = projection_of(things, lambda _row, _event: None)
    events = [message(f"order-{key}", 1, Ordered(key, 1)) for key in (one, other)]

    for batch in [events] if together else [[event] for event in events]:
        apply(database_url, batch, projection=projection)

    assert rows(database_url, "select n from things") == []
    assert len(letters(database_url)) == 2


@pytest.mark.parametrize(
    ("kind", "value"),
    [(Code, "EURO"), (Longer, "EUR"), (sa.ARRAY(sa.String(3)), ["EURO"]), (sa.ARRAY(Code), ["EURO"]),
     (pg.BIT(3), "1011"), (pg.DOMAIN("short", sa.String(3)), "EURO"),
     (sa.ARRAY(pg.DOMAIN("short", sa.String(3))), ["EURO"])],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_and_not_cut(database_url: str, kind: Any, value: Any) -> None:
    """For decorated types, arrays, bits and domains as for a plain text."""
    things = table(sa.Column("x", kind))
    create(database_url, things)

    def fold(row: Any, _event: Ordered) -> None:
        row.x = value

    apply(database_url, [message("order-1", 1, Ordered("ann", 1))], projection=projection_of(things, fold))

    assert rows(database_url, "select n from things") == []
    assert letters(database_url) == [("order-1", 1, "failed")]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (Code, "EUR", "EUR"), (sa.ARRAY(sa.String(3)), ["EUR", None], "{EUR,NULL}"),
        (sa.ARRAY(Code), ["EUR"], "{EUR}"), (pg.BIT(3), "101", "101"), (sa.CHAR(3), "a", "a"),
        (pg.CITEXT, "Ann", "Ann"), (pg.DOMAIN("short", sa.String(3)), "EUR", "EUR"),
        (sa.Numeric(10, 2), "1.005", "1.01"),
        (sa.String(3, collation="C"), "EUR", "EUR"), (sa.Enum("a", "b", name='odd "na%me"(x)'), "a", "a"),
        (sa.Enum("a", "b", name="plain", native_enum=False), "b", "b"), (sa.Interval, None, None),
        (pg.TIMESTAMP(precision=0), "2026-01-01 00:00:00.6", "2026-01-01 00:00:01"),
        (pg.INET, "10.0.0.1", "10.0.0.1/32"),
        (pg.HSTORE, {"a": "1", '"=>': None}, '"a"=>"1", "\\"=>"=>NULL'),
    ],
)  # fmt: skip
def test_a_value_that_fits_is_kept(database_url: str, kind: Any, value: Any, text: str | None) -> None:
    """New and loaded again, as PostgreSQL keeps a value of this type."""
    if kind in EXTENSIONS:
        with psycopg.connect(database_url, autocommit=True) as connection:
            try:
                connection.execute(f"create extension {EXTENSIONS[kind]}".encode())
            except psycopg.errors.FeatureNotSupported:
                pytest.skip(f"this PostgreSQL has no {EXTENSIONS[kind]}: install its contrib package")
    things = table(sa.Column("x", kind))
    create(database_url, things)

    def fold(row: Any, event: Ordered) -> None:
        row.x = value if event.amount == 1 else row.x

    for version in (1, 2):
        apply(
            database_url, [message("order-1", version, Ordered("ann", version))], projection=projection_of(things, fold)
        )

    assert letters(database_url) == []
    assert rows(database_url, "select n, x::text from things") == [(2, text)]


@pytest.mark.parametrize("count", [1, 3])
def test_all_kinds_of_bytes_are_kept_also_beside_each_other(database_url: str, count: int) -> None:
    """One row, and rows of one batch whose values have different types."""
    things = table(sa.Column("x", sa.LargeBinary))
    create(database_url, things)
    values = bytearray(b"ab"), memoryview(b"\0\xff"), b"c"

    def fold(row: Any, event: Ordered) -> None:
        row.x = values[event.amount]

    batch = [message(f"order-{n}", 1, Ordered(f"ann-{n}", n)) for n in range(count)]
    apply(database_url, batch, projection=projection_of(things, fold))

    assert rows(database_url, "select x from things order by id") == [(bytes(value),) for value in values[:count]]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (sa.Column("x", sa.DateTime, default=sa.func.now()), "a default that is an SQL expression"),
        (sa.Column("x", sa.Integer, default=sa.text("7")), "server_default="),
        (
            sa.Column("x", sa.Text, default=lambda context: context.get_current_parameters()["id"]),
            "statement's context",
        ),
        (sa.Column("x", sa.Integer, sa.Sequence("s")), "server_default=sequence.next_value()"),
        (sa.Column("x", sa.DateTime, onupdate=sa.func.now()), "has onupdate="),
        (sa.Column("x", sa.Integer, default=1, onupdate=2), "set it in the handlers"),
        (sa.Column("x", sa.Integer, nullable=False), "NOT NULL and has no default"),
        (sa.Column("x", Lowered), "has the type .*Lowered, which wraps its values"),
        (sa.Column("x", Raised), "has the type .*Raised, which wraps its values"),
    ],
)
def test_column_features_that_need_sqlalchemys_own_statements_are_refused(column: sa.Column[Any], words: str) -> None:
    """When the projection is declared, with an alternative."""
    with pytest.raises(ProjectionError, match=f"column 'x' of table 'things' .*{words}"):
        TableProjection("things", shop, table=table(column), key="id")


@pytest.mark.parametrize("default", [5, list, lambda: 5, sa.Text.__name__.lower])
def test_constants_and_functions_without_arguments_are_taken(default: Any) -> None:
    """They are called for each new row."""
    TableProjection("things", shop, table=table(sa.Column("x", sa.JSON, default=default)), key="id")


@pytest.mark.parametrize(
    "name", ["from", "class", "None", "_loaded", "__slots__", "a.b", "50%", "a (b)", "1st", "_sa_instance_state"]
)
def test_a_column_that_cannot_be_an_attribute_is_refused_with_a_name_that_can(name: str) -> None:
    """The advice works."""
    with pytest.raises(ProjectionError, match=r"cannot be an attribute of a row.* key='\w+'") as refused:
        TableProjection("things", shop, table=table(sa.Column(name, sa.Integer)), key="id")
    advised = str(refused.value).split("key='")[1].split("'")[0]
    TableProjection("things", shop, table=table(sa.Column(name, sa.Integer, key=advised)), key="id")


@pytest.mark.parametrize(
    "name", ["from", "place", "eventkit place", "a.b", "50%", 'a "b" {c}', "a (b)", "self", "k", "t"]
)
def test_columns_and_tables_may_have_any_name_in_sql(database_url: str, name: str) -> None:
    """As key, as value, and as the table's own, with a `key=` that Python can say."""
    things = sa.Table(
        name, sa.MetaData(), sa.Column(name, sa.Text, primary_key=True, key="id"),
        sa.Column(f"{name}_n", sa.Integer, default=0, key="n"), sa.Column("tags", sa.ARRAY(sa.Text)),
    )  # fmt: skip
    create(database_url, things)
    projection = projection_of(things, lambda _row, _event: None)

    for version in (1, 2):
        apply(database_url, [message("order-1", version, Ordered("ann", 1))], projection=projection)

    assert letters(database_url) == []
    assert rows(database_url, f'select * from "{name.replace(chr(34), chr(34) * 2)}"') == [("ann", 2, None)]


def test_a_column_may_be_named_self(database_url: str) -> None:
    """It is an attribute like any other."""
    things = table(sa.Column("self", sa.Integer, default=0))
    create(database_url, things)

    def fold(row: Any, event: Ordered) -> None:
        row.self += event.amount

    apply(database_url, [message("order-1", 1, Ordered("ann", 7))], projection=projection_of(things, fold))

    assert rows(database_url, "select self from things") == [(7,)]


@pytest.mark.parametrize(
    ("kind", "nullable", "found"),
    [
        (sa.JSON, True, None),
        (sa.JSON, False, "null"),
        (pg.JSONB, False, "null"),
        (pg.JSONB(none_as_null=True), True, None),
    ],
)
def test_none_in_a_json_column_is_null_of_sql_where_it_can_be(
    database_url: str,
    kind: Any,
    nullable: bool,
    found: str | None,
) -> None:
    """A column that is NOT NULL takes JSON's null, as SQLAlchemy writes it."""
    things = table(sa.Column("x", kind, nullable=nullable, default=dict))
    create(database_url, things)

    def fold(row: Any, _event: Ordered) -> None:
        row.x = None

    apply(database_url, [message("order-1", 1, Ordered("ann", 1))], projection=projection_of(things, fold))

    assert rows(database_url, "select x::text from things") == [(found,)]


UNIQUE: list[tuple[Callable[[sa.Table], object], bool]] = [
    (lambda t: sa.Index("i", t.c.id, unique=True), True),
    (lambda t: sa.Index("i", t.c.id.desc().nulls_last(), unique=True), True),
    (lambda t: sa.Index("i", t.c.id, unique=True, postgresql_include=["n"]), True),
    (lambda t: sa.Index("i", t.c.id, unique=True, postgresql_where=t.c.n > 0), False),
    (lambda t: sa.Index("i", sa.func.lower(t.c.id), unique=True), False),
    (lambda t: sa.Index("i", sa.func.lower(t.c.id).desc(), unique=True), False),
    (lambda t: sa.Index("i", t.c.id, t.c.n, unique=True), False),
    (lambda t: sa.Index("i", t.c.id), False),
    (lambda t: t.append_constraint(sa.UniqueConstraint(t.c.id)), True),
    (lambda t: t.append_constraint(sa.UniqueConstraint(t.c.id, deferrable=True)), False),
    (lambda t: t.append_constraint(sa.PrimaryKeyConstraint(t.c.id, deferrable=True)), False),
]


@pytest.mark.parametrize(("make", "taken"), UNIQUE)
def test_a_key_is_unique_in_a_way_that_an_upsert_can_use(
    database_url: str, make: Callable[[sa.Table], object], taken: bool
) -> None:
    """Not by a part of the rows, by an expression, or at the end of the transaction alone."""
    things = sa.Table("things", sa.MetaData(), sa.Column("id", sa.Text), sa.Column("n", sa.Integer, default=0))
    make(things)
    if not taken:
        with pytest.raises(ProjectionError, match="needs to be its primary key"):
            TableProjection("things", shop, table=things, key="id")
        return
    create(database_url, things)
    projection = TableProjection("things", shop, table=things, key="id")
    projection.on(Ordered, key=lambda event: event.customer)(lambda row, _event: setattr(row, "n", row.n + 1))

    for version in (1, 2):
        apply(database_url, [message("order-1", version, Ordered("ann", 1))], projection=projection)

    assert rows(database_url, "select * from things") == [("ann", 2)]
