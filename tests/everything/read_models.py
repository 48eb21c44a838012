"""Two read models that remember their events, so that a hole, a repeat or a wrong order shows.

One has a row per stream, by SQL; the rows of the other are fed by many streams.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Column, Connection, MetaData, Table, Text, text

from eventkit.domain.catalog.catalog import Catalog
from eventkit.projection.define.sql import SqlProjection
from eventkit.projection.define.table import TableProjection

acts = Catalog("acts")
TOPIC = "acts.deed"
CREATE = """create table tails (stream text primary key, seen text);
            create table boards (board text primary key, seen text)"""


@acts.event
@dataclass(frozen=True)
class Done:
    """Something with a number of its own; `trouble` is who may refuse it: `handler`, `broker` or nobody."""

    name: str
    number: int
    board: str
    trouble: str = ""


class Board(Protocol):
    """A row that many streams feed."""

    seen: str


class Weather:
    """The conditions of the handlers: while `strict`, marked events fail; `shot` is called at the `fuse`-th event."""

    strict = True
    fuse = 0
    shot: Callable[[], None] = staticmethod(lambda: None)

    def meet(self, event: Done) -> None:
        """Be called for each event."""
        self.fuse -= 1
        if self.fuse == 0:
            self.shot()
        if self.strict and event.trouble == "handler":
            raise ValueError(f"{event.name} did number {event.number}")


def read_models(weather: Weather) -> tuple[SqlProjection, TableProjection]:
    """Return both."""
    tails = SqlProjection("tails", acts, tables=["tails"])
    table = Table("boards", MetaData(), Column("board", Text, primary_key=True), Column("seen", Text, default=""))
    boards = TableProjection("boards", acts, table=table, key="board")

    @tails.on(Done)
    def tail(connection: Connection, event: Done) -> None:
        weather.meet(event)
        statement = text(
            "insert into tails values (:name, :number)"
            " on conflict (stream) do update set seen = tails.seen || ' ' || excluded.seen"
        )
        connection.execute(statement, {"name": event.name, "number": str(event.number)})

    @boards.on(Done)
    def board(row: Board, event: Done) -> None:
        weather.meet(event)
        row.seen = f"{row.seen} {event.number}"

    return tails, boards
