"""The code of a campaign's projectors: a read model that keeps its events in order, and a handler with an effect.

Both show a repetition: the trail grows by every event, and no constraint stops an effect from being noted again.
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
    """Record an effect that shows a repetition."""
    rows = [{"stream": str(each.stream), "version": each.version, "id": str(each.id)} for each in envelopes]
    connection.execute(insert(EFFECTS), rows)
