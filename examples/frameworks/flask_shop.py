"""Flask-SQLAlchemy: an order and its event in one commit of `db.session`.

$ eventkit db upgrade
$ flask --app examples.frameworks.flask_shop create-tables
$ gunicorn --preload --workers 2 examples.frameworks.flask_shop:app
$ curl -X POST localhost:8000/orders -H 'content-type: application/json' -d '{"customer": "ada", "cents": 1250}'
"""

from dataclasses import dataclass
from uuid import UUID, uuid4

from flask import Flask, abort, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from eventkit import Catalog, EventStore, load_settings

shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class OrderPlaced:
    customer: str
    cents: int


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    customer: Mapped[str]
    cents: Mapped[int]


app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = load_settings().sqlalchemy_url
db = SQLAlchemy(app, model_class=Base)


@app.post("/orders")
def place_order() -> tuple[dict[str, str], int]:
    order = Order(id=uuid4(), **request.get_json())
    db.session.add(order)
    store.append(db.session, shop.stream("order", order.id), OrderPlaced(order.customer, order.cents))
    if order.cents <= 0:
        abort(422)  # Flask-SQLAlchemy rolls back at the end of the request: neither the order nor its event
    db.session.commit()
    return {"order": str(order.id)}, 201


@app.cli.command("create-tables")
def create_tables() -> None:
    db.create_all()
