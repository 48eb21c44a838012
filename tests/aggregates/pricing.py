"""A fold whose every part a test may change: this file is copied, edited and imported anew."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum

from eventkit import Aggregate, Catalog, evolve

RATES = {"book": Decimal("0.07"), "wine": Decimal("0.19")}
FREE = frozenset({"bag", "note", "pen"})

shop = Catalog("shop")


class Kind(Enum):
    """What is sold."""

    GOOD = "good"


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
        """Return what it adds."""
        return Line(self.item, self.price)


def taxed(price: Decimal, item: str) -> Decimal:
    """Return a price with tax."""
    return price * (1 + RATES.get(item, Decimal(0))) if item not in {"a", "b", "c"} else price


@dataclass
class Bill(Aggregate):
    """The state."""

    lines: list[Line] = field(default_factory=list)
    total: Decimal = Decimal(0)
    kind: Kind = Kind.GOOD

    def buy(self, item: str) -> None:
        """Decide, which is no part of the fold."""
        self.record(Bought(item))

    @evolve
    def _bought(self, event: Bought) -> None:
        self.lines.append(event.line())
        self._count()

    def _count(self) -> None:
        self.total = sum((line.gross() for line in self.lines if line.item not in FREE), Decimal(0))
