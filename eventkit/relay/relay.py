"""The relay: one leader per part of the shards, which reads the outbox, publishes, and settles what was acknowledged.

    lease -> reader -> publisher -> settlement

It needs a database and a transport, none of the service's code. Whatever fails, it begins again where nothing is
settled: an event may be sent twice, never skipped, and never before an earlier one of its stream. What a publisher's
failure means is judged here and only here: *of the event*, its stream is parked; *of the topic*, the topic is held and
tried again; *anything else*, everything is tried again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg

from eventkit.relay.claims import Claims
from eventkit.relay.leader import Leader
from eventkit.relay.publisher_lifecycle import PublisherLifecycle
from eventkit.storage.outbox import Lease, Outbox, Settlement
from eventkit.storage.schema import refuse_moved
from eventkit.transports import Transport
from eventkit.worker import Stop

Connect = Callable[[str], psycopg.Connection[Any]]
"""Opens an autocommit connection of its own for the purpose that is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which of `of` relays this is, from 0; each takes the streams of its share of the shards."""

    number: int = 0
    of: int = 1

    @property
    def lease(self) -> str:
        """The name of the lease that guards it."""
        return f"relay {self.number}/{self.of}"


class Relay:
    """A process's relay. `connect` opens its connections, `owner` names it in the lease."""

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
        """Take what it works with; `run` does the work. `claims` may share topics."""
        self._connect = connect
        self._transport = transport
        self._schema = schema
        self._owner = owner
        self._part = part or Part()
        self._claims = claims or Claims(transport)
        self._owed: set[int] = set()  # acknowledged by the transport, not yet settled
        self._server = ""
        self.settled = 0  # events, by this process

    def run(self, stop: Stop) -> None:
        """Stand by, then lead, until `stop`.

        Raises when the database, the broker or the lease is lost: run it again.
        """
        publishing = PublisherLifecycle(self._transport)
        try:
            holding = self._connect("relay lease")
            lease = Lease(holding, self._schema, name=self._part.lease, owner=self._owner)
            try:
                installation = refuse_moved(holding, self._schema)
                if lease.acquire(stop.is_set):
                    self._lead(lease, publishing, str(installation.id), stop)
            finally:
                lease.release()
        finally:
            self._owed.update(publishing.close())

    def _lead(self, lease: Lease, publishing: PublisherLifecycle, installation: str, stop: Stop) -> None:
        with self._connect("relay reader") as reading, self._connect("relay settlement") as writing:
            settlement = Settlement(writing, self._schema, lease=lease.name, epoch=lease.epoch)
            self._forget_another_server(Outbox(reading, self._schema).horizon().server)
            claim = partial(self._claims.refused, reading, self._schema, owner=installation)
            leader = Leader(publishing, settlement, lease, owed=self._owed, claim=claim)
            leader.settle_owed()
            try:
                while not stop.is_set():
                    leader.work(reading, self._schema, (self._part.number, self._part.of), stop)
            finally:
                self.settled += settlement.settled

    def _forget_another_server(self, server: str) -> None:
        """Settle nothing that another server owed: after a failover a position may belong to another event."""
        if server != self._server:
            self._owed.clear()
        self._server = server
