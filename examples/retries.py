"""Retry policies: payments by a bank that is down now and then, and refuses some cards (docs/retry-policies.md).

$ eventkit db upgrade
$ eventkit projector run examples.retries:payments --from store
"""

from dataclasses import dataclass

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, insert

from eventkit import Backoff, Catalog, Envelope, Handlers, Retry, TryLater

charges = Table("charges", MetaData(), Column("order_id", Text, primary_key=True), Column("cents", Integer))
receipts = Table("receipts", charges.metadata, Column("order_id", Text, primary_key=True))
shop = Catalog("shop")


@shop.event
@dataclass(frozen=True)
class ChargeCard:
    order: str
    cents: int


@shop.event
@dataclass(frozen=True)
class SendReceipt:
    order: str


class BankDown(Exception):
    """The bank does not answer."""


class CardRefused(Exception):
    """The bank has answered: no."""


class Bank:
    """Stands for the client of a bank."""

    def charge(self, cents: int, *, key: str) -> None:
        """Charge a card once for each key."""


bank = Bank()
post: list[str] = []
HUNDRED = 100

payments = Handlers(
    "payments",
    shop,
    categories=["card", "receipt"],
    batch=1,
    retry=Retry(attempts=5, backoff=Backoff(first=0.5, factor=4, most=60)),
)


@payments.on(
    ChargeCard,
    retry=Retry(wait_for=(BankDown,), park_on=(CardRefused,), probes=Backoff(first=0.1, factor=2, most=30)),
    timeout=20,
)
def charge(connection: Connection, command: ChargeCard, envelope: Envelope[ChargeCard]) -> None:
    bank.charge(command.cents, key=str(envelope.id))
    connection.execute(insert(charges).values(order_id=command.order, cents=command.cents))


@payments.on(SendReceipt)
def send(connection: Connection, command: SendReceipt) -> None:
    if len(post) >= HUNDRED:
        raise TryLater(30, "the post takes a hundred letters at a time")
    connection.execute(insert(receipts).values(order_id=command.order))
    post.append(command.order)
