"""The payments of the shop: handlers of a command, which comes from the store or from somewhere without one."""

from sqlalchemy import Connection, text

from eventkit.domain.envelope import Envelope
from eventkit.messaging.handlers import Handlers
from eventkit.projection.retry_policy import Retry
from tests.messaging.shop import CardCharged, ChargeCard, OrderPlaced, order, shop, store

CREATE = "create table charges (order_id text, amount int check (amount < 100), stream text, version int)"

shop.consumes("till", "ChargeCard", type("TillCharge", (ChargeCard,), {}))
shop.consumes("other_till", "ChargeCard", type("OtherCharge", (ChargeCard,), {}))


def payments(name: str = "payments", *, attempts: int = 2, batch: int = 4_000) -> Handlers:
    """Return handlers that note each charge, and record their own event."""
    handlers = Handlers(name, shop, categories=["charge_card"], retry=Retry(attempts=attempts), batch=batch)

    def charge(connection: Connection, command: ChargeCard, envelope: Envelope[ChargeCard]) -> None:
        values = {"o": command.order, "a": command.amount, "s": envelope.stream, "v": envelope.version}
        connection.execute(text("insert into charges values (:o, :a, :s, :v)"), values)
        store.following(envelope).append(connection, order(command.order), CardCharged(command.order, command.amount))

    for kind in shop.types:
        if kind.name == "ChargeCard":
            handlers.on(kind.cls)(charge)
    return handlers


one_by_one = payments("one-by-one", batch=1)
policy = Handlers("policy", shop)


@policy.on(OrderPlaced)
def placed(connection: Connection, event: OrderPlaced, envelope: Envelope[OrderPlaced]) -> None:
    """Whenever an order is placed, its card is charged."""
    store.following(envelope).append(
        connection, shop.stream("charge_card", event.order), ChargeCard(event.order, event.total)
    )
