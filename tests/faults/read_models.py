"""What the projectors of a campaign are pointed at: a read model that keeps what it saw, and a handler that acts.

Both show what was done twice: the trail grows by every event, and no constraint stops an effect from being noted again.
"""

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import BigInteger, Column, Connection, Identity, Integer, MetaData, Table, Text, insert

from eventkit.domain.envelope import Envelope
from eventkit.messaging.handlers import Handlers
from eventkit.projection.define.table import TableProjection
from tests.faults.shop import Noted, shop

metadata = MetaData()
SEEN = Table(
    "seen", metadata, Column("stream", Text, primary_key=True), Column("trail", Text, nullable=False, default="")
)
EFFECTS = Table(
    "effects",
    metadata,
    Column("place", BigInteger, Identity()),
    Column("stream", Text),
    Column("version", Integer),
    Column("id", Text),
)


class Trail(Protocol):
    """A row of the read model: `version:id` of each event of a stream, in the order in which they were applied."""

    trail: str


seen = TableProjection("seen", shop, table=SEEN, key="stream", categories=["order"])
acting = Handlers("acting", shop, categories=["order"])


@seen.on(Noted, key=lambda _, envelope: str(envelope.stream))
def saw(row: Trail, event: Noted, envelope: Envelope[Noted]) -> None:
    """Keep the event's place."""
    del event
    row.trail += f"{envelope.version}:{envelope.id} "


@acting.on_batch(Noted)
def act(connection: Connection, envelopes: Sequence[Envelope[Noted]]) -> None:
    """Do what shows when it is done twice."""
    rows = [{"stream": str(each.stream), "version": each.version, "id": str(each.id)} for each in envelopes]
    connection.execute(insert(EFFECTS), rows)
