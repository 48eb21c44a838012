"""The outbox in Django: a model's row and its event in one `transaction.atomic()`.

$ eventkit db upgrade
$ python -m examples.outbox_django
"""

from dataclasses import dataclass

import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from eventkit import Catalog, EventStore, load_settings

if not settings.configured:  # a project has its settings.py instead
    parts = conninfo_to_dict(load_settings().require_database())
    database = {name: parts.get(name.lower(), "") for name in ("USER", "PASSWORD", "HOST", "PORT")}
    database |= {"ENGINE": "django.db.backends.postgresql", "NAME": parts["dbname"]}
    settings.configure(DATABASES={"default": database}, USE_TZ=True)
    django.setup()

from django.db import connection, models, transaction

shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    customer: str
    total: int


class Order(models.Model):
    customer = models.TextField()
    total = models.IntegerField()

    class Meta:
        app_label, db_table = "shop", "orders"


def place_order(customer: str, total: int) -> None:
    """Commit the order with its event, or neither."""
    with transaction.atomic():
        order = Order.objects.create(customer=customer, total=total)
        store.append(connection, shop.stream("order", order.pk), OrderPlaced(customer, total))


def main() -> None:
    with connection.schema_editor() as editor:  # a project has its migrations instead
        editor.create_model(Order)
    place_order("ada", 12)
    print("one order and one event are committed")


if __name__ == "__main__":
    main()
