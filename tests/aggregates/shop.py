"""Orders and carts for the tests of this room, in the class style and in the function style."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from eventkit import Catalog, EventStore
from eventkit.aggregates.aggregate import Aggregate, evolve
from eventkit.aggregates.decider import Decider
from eventkit.aggregates.repository import Repository

shop = Catalog("shop")


@shop.event
@dataclass(frozen=True)
class Added:
    """Something was put into the order."""

    item: str
    count: int = 1


@shop.event
@dataclass(frozen=True)
class Closed:
    """No more can be added."""


@shop.event
@dataclass(frozen=True)
class Viewed:
    """Of no meaning to an order's state."""


@shop.event
@dataclass(frozen=True)
class Odd:
    """An event that no aggregate here evolves."""


class OrderClosed(Exception):
    """The error of a refused decision."""


@dataclass
class Order(Aggregate):
    """The items of an order, and whether it is closed."""

    ignored = (Viewed,)

    items: dict[str, int] = field(default_factory=dict)
    closed: bool = False

    def add(self, item: str, count: int = 1) -> None:
        """Put something in, unless the order is closed."""
        if self.closed:
            raise OrderClosed(self.stream)
        self.record(Added(item, count))

    def close(self) -> None:
        """Close it, once."""
        if not self.closed:
            self.record(Closed())

    @evolve
    def _added(self, event: Added) -> None:
        self.items[event.item] = self.items.get(event.item, 0) + event.count

    @evolve(Closed)
    def _closed(self, _: object) -> None:
        self.closed = True


@dataclass(frozen=True)
class Cart:
    """The state of the function style."""

    items: tuple[str, ...] = ()
    closed: bool = False


@dataclass(frozen=True)
class Add:
    """A command."""

    item: str


@dataclass(frozen=True)
class Close:
    """Another."""


def decide(command: Add | Close, cart: Cart) -> Iterator[object]:
    """Return the events of a decision."""
    if cart.closed and isinstance(command, Add):
        raise OrderClosed(command.item)
    if isinstance(command, Add):
        yield Added(command.item)
    elif not cart.closed:
        yield Closed()


def evolve_cart(cart: Cart, event: Added | Closed) -> Cart:
    """Return the state after an event."""
    if isinstance(event, Added):
        return Cart((*cart.items, event.item), cart.closed)
    return Cart(cart.items, closed=True)


store = EventStore(shop)
orders = Repository(store, Order, category="order")
cart = Decider(Cart, decide, evolve_cart)
carts = Repository(store, cart, category="cart")
