"""Small events that make much: a table projection whose rows become large, and a process manager with many commands.

Each is run over a store of small events. Every event makes a row of 100 KB, or appends ten commands of 20 KB.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import psycopg
import sqlalchemy as sa

from benchmarks.memory_watch import CLI, peak
from benchmarks.orders import ItemOrdered, catalog, metadata
from eventkit import EventStore, ProcessManager, TableProjection
from eventkit.domain.envelope import Envelope
from eventkit.messaging.reaction import Reaction

_ROW, _COMMAND, _COMMANDS = 100_000, 20_000, 10  # bytes, bytes, commands an event
CREATE = (
    "create table memory_albums (id text primary key, pages text not null)",
    "create table memory_desks (id text primary key, seen int not null)",
)
_ALBUMS = sa.Table(
    "memory_albums", metadata, sa.Column("id", sa.Text, primary_key=True), sa.Column("pages", sa.Text, default="")
)
_DESKS = sa.Table(
    "memory_desks", metadata, sa.Column("id", sa.Text, primary_key=True), sa.Column("seen", sa.Integer, default=0)
)


class Album(Protocol):
    """A row that becomes large."""

    pages: str


def _place(_: ItemOrdered, envelope: Envelope[Any]) -> str:
    return f"{envelope.stream} {envelope.version}"


albums = TableProjection("memory_albums", catalog, table=_ALBUMS, key="id")
desks = ProcessManager("memory_desks", EventStore(catalog), table=_DESKS, key="id", categories=["order"])


@albums.on(ItemOrdered, key=_place)
def ordered(row: Album, _: ItemOrdered) -> None:
    """Make a large row."""
    row.pages += "x" * _ROW


@desks.on(ItemOrdered, key=_place)
def seen(_row: object, event: ItemOrdered, reaction: Reaction) -> None:
    """Append ten commands, to a stream each."""
    for number in range(_COMMANDS):
        stream = catalog.stream("parcel", f"{event.order}-{number}")
        reaction.append(stream, ItemOrdered(event.order, event.customer, number, "x" * _COMMAND))


def of_folds(url: str, fill: Callable[[], None]) -> Iterator[tuple[str, float]]:
    """Yield the peaks of a projector of each."""
    fill()
    with psycopg.connect(url) as connection:
        for statement in CREATE:
            connection.execute(statement.encode())
    for name in ("albums", "desks"):
        words = ("projector", "run", f"benchmarks.memory_folds:{name}", "--from", "store", "--until-idle", "1")
        yield name, peak(url, CLI, *words)
