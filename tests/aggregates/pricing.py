"""A fold whose every part a test may change: this file is copied, edited and imported again."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum

from eventkit import Aggregate, Catalog, evolve

RATES = {"book": Decimal("0.07"), "wine": Decimal("0.19")}
FREE = frozenset({"bag", "note", "pen"})

shop = Catalog("shop")


class Kind(Enum):
    """The kind of an article."""

    GOOD = "good"


def noted(function: Callable[..., None]) -> Callable[..., None]:
    """Decorate a function."""

    @functools.wraps(function)
    def call(*args: object) -> None:
        function(*args)

    return call


@functools.singledispatch
def weight(_: object) -> int:
    """Weigh something, by its class."""
    return 0


@weight.register
def _(item: str) -> int:
    return len(item)


@functools.cache
def rounded(price: Decimal) -> Decimal:
    """Round, and remember."""
    return round(price, 2)


@dataclass(frozen=True)
class Line:
    """A part of the state."""

    item: str
    price: Decimal

    def gross(self) -> Decimal:
        """Return the price with tax."""
        return taxed(self.price, self.item)


@shop.event
@dataclass(frozen=True)
class Bought:
    """An event with a method."""

    item: str
    price: Decimal = Decimal(1)

    def line(self) -> Line:
        """Return the amount that it adds."""
        return Line(self.item, self.price)


def taxed(price: Decimal, item: str) -> Decimal:
    """Return a price with tax."""
    return price * (1 + RATES.get(item, Decimal(0))) if item not in {"a", "b", "c"} else price


@dataclass
class Bill(Aggregate):
    """The state."""

    lines: list[Line] = field(default_factory=list)
    total: Decimal = Decimal(0)
    weight: int = 0
    kind: Kind = Kind.GOOD

    def buy(self, item: str) -> None:
        """Decide, which is no part of the fold."""
        self.record(Bought(item))

    @evolve
    @noted
    def _bought(self, event: Bought) -> None:
        self.lines.append(event.line())
        self.weight += weight(event.item)
        self._count()

    def _count(self) -> None:
        self.total = sum((rounded(line.gross()) for line in self.lines if line.item not in FREE), Decimal(0))
