"""Handlers: functions that act on commands, messages and events, each with effect exactly once, without a read model.

The projector runs them as a kind of projection. Versioned messages have checkpoints, others a row in the inbox. Both
are written in the handler's transaction, together with its own rows and events. A failed message is retried, then
parked with its stream; it can be redriven. Effects outside of the database happen at least once: use the envelope's id
as the idempotency key.
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

    A message without a version has `envelope.version` 0; its stream is its key, if the key is a valid stream id.
    """

    kind = "set of handlers"
    acts = True
    unversioned = True

    def __init__(  # noqa: PLR0913 the options that all handlers share, each by its name
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
        """Declare handlers of the events and commands of `categories`, or of all.

        `batch` limits the messages of a transaction: use 1 if a handler calls a service outside of the database, which
        a rollback does not undo. Events that were recorded before `since` have no effect.

        `retry` and `timeout` are the defaults of the single handlers. `retry` sets the number of attempts, and the
        errors that mean an unavailable service. `timeout` is in seconds: between two statements, or for the whole call
        of an `async def` handler, which is then cancelled. `concurrency` limits the parallel transactions of one
        process with `async def` handlers.
        """
        super().__init__(name, catalog, categories=categories, retry=retry, timeout=timeout, concurrency=concurrency)
        self.batch, self.since = batch, since
        if batch < 1:
            raise ProjectionError(f"handlers {name!r}: batch={batch} must be 1 or more")
        if since is not None and since.tzinfo is None:
            raise ProjectionError(f"handlers {name!r}: since={since} has no time zone")
