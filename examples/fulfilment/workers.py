"""The services that follow commands: handlers, each exactly once in effect in their own database."""

from sqlalchemy import Connection, text

from eventkit import Envelope, Handlers
from examples.fulfilment.events import (
    CardCharged,
    ChargeCard,
    ParcelRefused,
    ParcelSent,
    RefundCard,
    SendParcel,
    shop,
    store,
)
from examples.fulfilment.process import fulfilment

BOOK = text('insert into bookings ("order", amount) values (:order, :amount)')
LIMIT = 1000  # no card pays more

payments = Handlers("payments", shop, categories=["card"])
parcels = Handlers("parcels", shop, categories=["parcel"])


@payments.on(ChargeCard)
def charge(connection: Connection, command: ChargeCard, envelope: Envelope[ChargeCard]) -> None:
    if command.amount <= LIMIT:  # otherwise the customer is asked for the money, and may pay or not
        connection.execute(BOOK, {"order": command.order, "amount": command.amount})
        charged = CardCharged(command.order, command.amount)
        store.following(envelope).append(connection, envelope.stream, charged)


@payments.on(RefundCard)
def refund(connection: Connection, command: RefundCard) -> None:
    connection.execute(BOOK, {"order": command.order, "amount": -command.amount})


@parcels.on(SendParcel)
def send(connection: Connection, command: SendParcel, envelope: Envelope[SendParcel]) -> None:
    served = command.country != "Atlantis"
    outcome = ParcelSent(command.order) if served else ParcelRefused(command.order, f"nobody goes to {command.country}")
    store.following(envelope).append(connection, envelope.stream, outcome)


everything = [fulfilment, payments, parcels]  # in life each service runs its own
