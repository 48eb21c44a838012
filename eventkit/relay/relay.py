"""The relay: one leader per part of the shards reads the outbox, publishes, and settles acknowledged events.

    lease -> reader -> publisher -> settlement

It needs a database and a transport, and none of the service's code. After any failure it starts again with the first
unsettled event. An event may be sent twice. It is never skipped, and never sent before an earlier event of its stream.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg

from eventkit.heartbeat import Pace
from eventkit.relay.claims import Claims
from eventkit.relay.leader import Leader
from eventkit.relay.publisher_lifecycle import PublisherLifecycle
from eventkit.storage.outbox import Lease, Outbox, Settlement
from eventkit.storage.schema import refuse_moved
from eventkit.transports import Transport
from eventkit.worker import Stop

Connect = Callable[[str], psycopg.Connection[Any]]
"""Opens a new autocommit connection for the named purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The number of this relay among `of` relays, from 0; each takes the streams of its share of the shards."""

    number: int = 0
    of: int = 1

    @property
    def lease(self) -> str:
        """The name of its lease."""
        return f"relay {self.number}/{self.of}"


class Relay:
    """The relay of one process."""

    def __init__(
        self,
        connect: Connect,
        transport: Transport,
        *,
        schema: str,
        owner: str,
        part: Part | None = None,
        claims: Claims | None = None,
    ) -> None:
        """Relay over `transport`; `connect` opens its connections, `owner` names it in the lease.

        `part` is the whole unless given; `claims` may share topics with other installations.
        """
        self._connect = connect
        self._transport = transport
        self._schema = schema
        self._owner = owner
        self._part = part or Part()
        self._claims = claims or Claims(transport)
        self._owed: set[int] = set()  # acknowledged by the transport, not yet settled
        self._server = ""
        self._settled = 0  # events settled in earlier epochs of this process
        self._settlement: Settlement | None = None  # of the current epoch
        self._pace = Pace()

    @property
    def settled(self) -> int:
        """The number of events that this process has settled."""
        before, now = self._settled, self._settlement
        return before + (0 if now is None else now.settled)

    def state(self) -> dict[str, Any]:
        """Return the state for the process's heartbeat; called by another thread."""
        role = "standby" if self._settlement is None else "leader"
        settled = self.settled
        return {
            "parts": {str(self._part.number): role},
            "of": self._part.of,
            "settled": settled,
            "rate": self._pace.of(settled),
        }

    def run(self, stop: Stop) -> None:
        """Wait for the lease, then lead, until `stop` is set.

        Raise when the database, the broker or the lease is lost: call it again.
        """
        publishers = PublisherLifecycle(self._transport)
        try:
            lease_connection = self._connect("relay lease")
            lease = Lease(lease_connection, self._schema, name=self._part.lease, owner=self._owner)
            try:
                installation = refuse_moved(lease_connection, self._schema)
                if lease.acquire(stop.is_set):
                    self._lead(lease, publishers, str(installation.id), stop)
            finally:
                lease.release()
        finally:
            self._owed.update(publishers.close())

    def _lead(self, lease: Lease, publishers: PublisherLifecycle, installation: str, stop: Stop) -> None:
        with self._connect("relay reader") as reading, self._connect("relay settlement") as writing:
            settlement = Settlement(writing, self._schema, lease=lease.name, epoch=lease.epoch)
            self._clear_owed_of_another(Outbox(reading, self._schema).horizon().server)
            claim = partial(self._claims.refused, reading, self._schema, owner=installation)
            leader = Leader(publishers, settlement, lease, owed=self._owed, claim=claim)
            self._settlement = settlement
            try:
                leader.settle_owed()
                while not stop.is_set():
                    leader.work(reading, self._schema, (self._part.number, self._part.of), stop)
            finally:
                self._settled, self._settlement = self.settled, None

    def _clear_owed_of_another(self, server: str) -> None:
        """Settle nothing acknowledged before a failover: the position may belong to another event now."""
        if server != self._server:
            self._owed.clear()
        self._server = server
