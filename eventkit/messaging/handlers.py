"""Handlers: functions that act on commands, messages and events, each exactly once in effect, and are no read model.

They are run by the projector, as one more kind of projection: versioned messages have checkpoints, messages without a
version a row in the inbox, both in the handler's own transaction, which also holds what it writes and appends. What
fails is tried again, then parked with its stream, and can be redriven. Effects outside of the database happen at least
once: the envelope's id is the idempotency key.
"""

from collections.abc import Sequence
from datetime import datetime

from eventkit.domain.catalog import Catalog
from eventkit.errors import ProjectionError
from eventkit.projection.define import Projection, SqlProjection
from eventkit.projection.retry_policy import Retry


class Handlers(SqlProjection):
    """Functions over the transaction's SQLAlchemy Connection, by class of command or event.

    payments = Handlers("payments", shop, categories=["charge_card"])

    @payments.on(ChargeCard)
    def charge(connection: Connection, command: ChargeCard, envelope: Envelope[ChargeCard]) -> None:
        connection.execute(insert(charges).values(order=command.order, amount=command.amount))
        store.following(envelope).append(connection, shop.stream("order", command.order), CardCharged(command.amount))

    A message without a version has `envelope.version` 0; its stream is its key, where that can be one.
    """

    kind = "set of handlers"
    acts = True
    unversioned = True

    def __init__(  # noqa: PLR0913 what all handlers share, each by its name
        self,
        name: str,
        catalog: Catalog,
        *,
        categories: Sequence[str] = (),
        batch: int = Projection.batch,
        since: datetime | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        concurrency: int = Projection.concurrency,
    ) -> None:
        """Declare them.

        `batch` is how many messages share a transaction at most: 1 where a handler calls something outside of the
        database, which a rollback would not take back. Events that were recorded before `since` have no effect.

        `retry`, how often a message is tried and which errors are waited for, and `timeout` are those of the handlers
        that have none of their own. `timeout` is how many seconds a handler may take between two statements; an
        `async def` handler altogether, and it is cancelled then. `concurrency` is how many transactions run at a time
        in one process where a handler is `async def`.
        """
        super().__init__(name, catalog, categories=categories, retry=retry, timeout=timeout, concurrency=concurrency)
        self.batch, self.since = batch, since
        if batch < 1:
            raise ProjectionError(f"handlers {name!r}: batch={batch} must be 1 or more")
        if since is not None and since.tzinfo is None:
            raise ProjectionError(f"handlers {name!r}: since={since} has no time zone")
