"""A read model whose rows depend on the order of their events, and on each being applied once."""

from hashlib import md5
from typing import Protocol

from sqlalchemy import Column, Integer, MetaData, Table, Text

from eventkit.domain.envelope import Envelope
from eventkit.projection.define.table import TableProjection
from tests.faults.shop import Noted, shop

metadata = MetaData()
CHAINS = Table(
    "chains",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("version", Integer, nullable=False, default=0),
    Column("chain", Text, nullable=False, default=""),
)


class Chain(Protocol):
    """A row of the read model: the last version of a stream, and a digest of the ids of all its events in order."""

    version: int
    chain: str


chains = TableProjection("chains", shop, table=CHAINS, key="stream", categories=["order"])


@chains.on(Noted, key=lambda _, envelope: str(envelope.stream))
def saw(row: Chain, event: Noted, envelope: Envelope[Noted]) -> None:
    """Add an event to the chain."""
    del event
    row.version = envelope.version
    row.chain = linked(row.chain, str(envelope.id))


def linked(chain: str, event_id: str) -> str:
    """Return a chain with another event."""
    return md5(f"{chain}{event_id}".encode(), usedforsecurity=False).hexdigest()
