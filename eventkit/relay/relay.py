"""The relay reads the outbox, publishes, and settles acknowledged events.

    leases of parts -> reader -> publisher -> settlement

The shards of the outbox are divided into parts, one unless an operator says otherwise. Relay processes share the parts
among themselves; a part is worked on by the holder of its lease alone. A process without parts stands by.

It needs a database and a transport, and none of the service's code. After any failure it starts again with the first
unsettled event. An event may be sent twice. It is never skipped, and never sent before an earlier event of its stream.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import psycopg

from eventkit.errors import ConfigurationError, DatabaseUnavailable, TransportError, TransportUnavailable
from eventkit.heartbeat import Pace
from eventkit.observability.liveness import waiting_for
from eventkit.registry import SchemaIds
from eventkit.relay.claims import Claims
from eventkit.relay.counters import RelayCounters
from eventkit.relay.leader import Leader
from eventkit.relay.part_keeper import PartKeeper
from eventkit.relay.publisher_lifecycle import PublisherLifecycle
from eventkit.storage.outbox import Outbox, PartLeases, Row, Settlement
from eventkit.storage.schema import refuse_moved
from eventkit.transports import Transport
from eventkit.worker import Stop

logger = logging.getLogger("eventkit.relay")

Connect = Callable[[str], psycopg.Connection[Any]]
"""Opens a new autocommit connection for the named purpose."""


class Relay:
    """The relay of one process."""

    def __init__(
        self,
        connect: Connect,
        transport: Transport,
        *,
        schema: str,
        owner: str,
        claims: Claims | None = None,
        schema_ids: SchemaIds | None = None,
    ) -> None:
        """Relay over `transport`; `connect` opens its connections, `owner` names it in its leases.

        `claims` may share topics with other installations. `schema_ids` finds the schemas that the transport names.
        """
        self._connect = connect
        self._transport = transport
        self._schema = schema
        self._owner = owner
        self._claims = claims or Claims(transport)
        self._schema_ids = schema_ids
        self._owed: set[int] = set()  # acknowledged by the transport, not yet settled
        self._server = ""
        self._has_failed = False
        self._of = 1  # the number of parts, as it was read last
        self._settled = 0  # events settled with earlier sets of parts
        self._settlement: Settlement | None = None  # of the parts that are worked on
        self._counters = RelayCounters()
        self._pace = Pace()

    @property
    def settled(self) -> int:
        """The number of events that this process has settled."""
        before, now = self._settled, self._settlement
        return before + (0 if now is None else now.settled)

    def state(self) -> dict[str, Any]:
        """Return the state for the process's heartbeat; called by another thread."""
        now, settled = self._settlement, self.settled
        held = {} if now is None else now.parts.epochs
        return {
            "parts": {str(part): "leader" if part in held else "standby" for part in range(self._of)},
            "of": self._of,
            "published": self._counters.published,
            "settled": settled,
            "swept": self._counters.swept,
            "gaps": self._counters.gaps,
            "rate": self._pace.of(settled),
        }

    def run(self, stop: Stop) -> None:
        """Join the relay processes, and work on the parts that fall to this one, until `stop` is set.

        Raise when the database, the broker or a lease is lost: call it again.
        """
        if self._has_failed and self._of > 1:
            self._check_surroundings()
        publishers = PublisherLifecycle(self._transport, self._counters)
        try:
            connection = self._connect("relay lease")
            keeper = PartKeeper(PartLeases(connection, self._schema, owner=self._owner), stop)
            try:
                installation = refuse_moved(connection, self._schema)
                keeper.start()
                self._of = keeper.of
                self._lead(keeper, publishers, str(installation.id), stop)
            finally:
                keeper.close()
        except (TransportUnavailable, DatabaseUnavailable):
            self._has_failed = True
            raise
        finally:
            self._owed.update(publishers.close())

    def _check_surroundings(self) -> None:
        """Raise while this process reaches no broker or no database: it would take parts from others that do."""
        with waiting_for("the broker"):
            try:
                self._transport.check()
            except TransportUnavailable:
                raise
            except (TransportError, ConfigurationError) as error:
                logger.debug("the broker answers: %s", error)
        with self._connect("relay reader"), self._connect("relay settlement"):
            self._has_failed = False

    def _lead(self, keeper: PartKeeper, publishers: PublisherLifecycle, installation: str, stop: Stop) -> None:
        parts = keeper.next_parts()
        if parts is None:
            return
        with self._connect("relay reader") as reading, self._connect("relay settlement") as writing:
            self._clear_owed_of_another(Outbox(reading, self._schema).horizon().server)
            claim = partial(self._refused, reading, installation)
            while parts is not None:
                self._settlement = settlement = Settlement(writing, self._schema, parts=parts)
                leader = Leader(publishers, settlement, keeper, owed=self._owed, claim=claim)
                try:
                    leader.settle_owed()
                    while not stop.is_set() and not keeper.is_changed(parts):
                        leader.work(reading, self._schema, stop)
                finally:
                    self._settled, self._settlement = self.settled, None
                parts = keeper.next_parts()

    def _refused(self, reading: psycopg.Connection[Any], installation: str, rows: Sequence[Row]) -> dict[str, str]:
        """Return the topics of rows that cannot be sent to: claimed by others, or without a registered schema."""
        refused = self._claims.refused(reading, self._schema, {row[1] for row in rows}, owner=installation)
        if self._schema_ids is None:
            return refused
        keys = {(row[1], row[5], row[6], int(row[7] or 1)) for row in rows}
        return {**self._schema_ids.refused(reading, self._schema, keys), **refused}

    def _clear_owed_of_another(self, server: str) -> None:
        """Settle nothing acknowledged before a failover: the position may belong to another event now."""
        if server != self._server:
            self._owed.clear()
        self._server = server
