"""Rows of a mapped class: its columns by their attributes, its methods and properties; and the refused features."""

from functools import cached_property
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    declarative_base,
    mapped_column,
    registry,
    relationship,
    validates,
)

from eventkit.errors import ProjectionError
from eventkit.projection.define.table import TableProjection
from tests.projection.shop import Ordered, apply, letters, message, rows, shop


class Base(DeclarativeBase):
    """A declarative base."""


class Money:
    """A mixin with a method that calls its heir's."""

    def add(self, amount: int) -> None:
        """Add."""
        self.amount = getattr(self, "amount", 0) + amount


class Account(Money, Base):
    """A mapped class with a bit of everything."""

    __tablename__ = "accounts"
    LIMIT = 10
    customer: Mapped[str] = mapped_column("from", primary_key=True)
    amount: Mapped[int] = mapped_column(default=0)
    note: Mapped[str | None]
    parent_id: Mapped[str | None] = mapped_column(sa.ForeignKey("accounts.from"))
    parent: Mapped["Account | None"] = relationship(remote_side="Account.customer")

    def add(self, amount: int) -> None:
        """Add, within the limit."""
        super().add(min(amount, self.LIMIT))

    @property
    def rich(self) -> bool:
        """Whether there is much."""
        return self.amount > 5

    @hybrid_property
    def double(self) -> int:
        """Twice."""
        return self.amount * 2

    @cached_property
    def name(self) -> str:
        """Kept beside the columns."""
        return self.customer.upper()


def accounts(fold: Any) -> TableProjection:
    """Declare a projection of accounts."""
    projection = TableProjection("accounts", shop, table=Account, key="customer")
    projection.on(Ordered)(fold)
    return projection


@pytest.fixture
def url(database_url: str) -> str:
    """A database with the tables."""
    engine = sa.create_engine(sa.make_url(database_url).set(drivername="postgresql+psycopg"))
    Base.metadata.create_all(engine)
    engine.dispose()
    return database_url


def test_a_row_has_the_methods_and_properties_of_its_class(url: str) -> None:
    """Its own and those it inherits, `super()` included; it is an instance, and its columns have the class's names."""

    def fold(row: Account, event: Ordered) -> None:
        assert isinstance(row, Account)
        row.add(event.amount)
        row.note = f"{row.name} {row.rich} {row.double}"

    apply(url, [message("order-1", 1, Ordered("ann", 25))], projection=accounts(fold))
    apply(url, [message("order-1", 2, Ordered("ann", 1))], projection=accounts(fold))

    assert letters(url) == []
    assert rows(url, 'select "from", amount, note from accounts') == [("ann", 11, "ANN True 22")]


@pytest.mark.parametrize(
    "fold",
    [
        lambda row, _event: setattr(row, "amout", 1),
        lambda row, _event: row.parent,
        lambda row, _event: setattr(row, "parent", row),
    ],
)
def test_a_value_that_a_row_cannot_keep_fails(url: str, fold: Any) -> None:
    """A misspelt column and a relationship park the stream."""
    apply(url, [message("order-1", 1, Ordered("ann", 1))], projection=accounts(fold))

    assert letters(url) == [("order-1", 1, "failed")]


def test_the_mapping_stays_as_it_was() -> None:
    """The class of rows is none of the ORM's."""
    rows_class = accounts(lambda _row, _event: None).rows.row

    sa.orm.configure_mappers()

    assert sa.inspect(rows_class, raiseerr=False) is None
    assert Account(customer="ann").customer == "ann"
    assert [mapper.class_ for mapper in Base.registry.mappers] == [Account]


def test_classes_of_every_style_are_taken() -> None:
    """Dataclasses of SQLAlchemy, the older base, and plain classes."""

    class Data(MappedAsDataclass, DeclarativeBase):
        """A base of dataclasses."""

    class One(Data):
        __tablename__ = "one"
        id: Mapped[str] = mapped_column(primary_key=True)
        n: Mapped[int] = mapped_column(default=0)

    class Two(declarative_base()):  # type: ignore[misc]
        __tablename__ = "two"
        id = sa.Column(sa.Text, primary_key=True)
        n = sa.Column(sa.Integer, default=0)

    class Three:
        """A plain class."""

    table = sa.Table("three", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True), sa.Column("n", sa.Integer))
    registry().map_imperatively(Three, table)

    for cls in (One, Two, Three):
        row = TableProjection("t", shop, table=cls, key="id").rows.row("a", 1, "a")
        row.n += 1
        assert (row.id, row.n, isinstance(row, cls)) == ("a", 2, True)


def test_a_rule_that_only_the_orm_enforces_is_refused() -> None:
    """When the projection is declared."""

    class Versioned(Base):
        __tablename__ = "versioned"
        id: Mapped[str] = mapped_column(primary_key=True)
        version: Mapped[int] = mapped_column(default=0)
        __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 SQLAlchemy's form

    class Checked(Base):
        __tablename__ = "checked"
        id: Mapped[str] = mapped_column(primary_key=True)

        @validates("id")
        def validate(self, _key: str, value: str) -> str:
            return value

    class Animal(Base):
        __tablename__ = "animals"
        id: Mapped[str] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(default="")
        __mapper_args__ = {"polymorphic_on": "kind"}  # noqa: RUF012 SQLAlchemy's form

    refused = [(Versioned, "version_id_col"), (Checked, "validators"), (Animal, "give the table itself")]
    for cls, words in [*refused, (Base, "nor a mapped class"), ("accounts", "give one of them")]:
        with pytest.raises(ProjectionError, match=words):
            TableProjection("t", shop, table=cls, key="id")  # type: ignore[arg-type]
