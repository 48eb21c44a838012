"""Classes of each kind that events are made of, and one-field events of any type."""

import datetime as dt
import enum
from dataclasses import dataclass, make_dataclass
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
import pydantic


class Colour(enum.Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Price:
    """A value object."""

    amount: Decimal
    currency: Literal["EUR", "USD"] = "EUR"


class Customer(pydantic.BaseModel):
    """A Pydantic model, strict and with an alias."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    name: str
    since: dt.date = pydantic.Field(alias="memberSince", default=dt.date(2020, 1, 1))
    score: float | None = None

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def shouted(self) -> str:
        """Not part of the event's data."""
        return self.name.upper()


class Line(msgspec.Struct, frozen=True, rename="camel"):
    """A Struct."""

    product_id: UUID
    price: Price
    customer: Customer | None = None


def an_event(kind: Any, *values: Any, **options: Any) -> Any:
    """Make an event class with one field of a type, and an event of it."""
    cls = make_dataclass("Happened", [("field", kind)], frozen=True, **options)
    return cls(*values)
