"""The rows and the events of the shop."""

from dataclasses import dataclass
from uuid import uuid4

from django.db import connection, models, transaction

from eventkit import Catalog, EventStore

shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    customer: str
    cents: int


class Order(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid4)
    customer = models.TextField()
    cents = models.IntegerField()

    class Meta:
        db_table = "orders"


def place_order(customer: str, cents: int) -> Order:
    """Commit the order with its event, or neither."""
    with transaction.atomic():
        order: Order = Order.objects.create(customer=customer, cents=cents)
        store.append(connection, shop.stream("order", order.id), OrderPlaced(customer, cents))
    return order
