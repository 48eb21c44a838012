"""A contestant: an outbox to write to, and a process that moves events from there to a topic.

The event is the same for all: 200 bytes of JSON with its number in it, to stream number % STREAMS, whose name is the
key. A contestant whose programs are not on this machine says how to get them (`ServerMissing`), and is left out.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

import msgspec
import psycopg

from benchmarks.openloop import STREAMS
from benchmarks.peers.carrier import Carrier, Place
from benchmarks.way import NOTE

Insert = Callable[[psycopg.Connection[Any], int], None]
"""Writes the event of a number in the caller's transaction."""
Inserter = Callable[[], Insert]
"""A module's function, called once in each process that writes."""

_TOGETHER = 1_000  # events of a backlog that were committed together
_FILL = """
do $$ begin
  for start in {first} .. {last} by {together} loop
    insert into {table} ({columns})
    select {values} from generate_series(start, least(start + {together} - 1, {last})) n order by n;
    commit;
  end loop;
end $$
"""
_KEY = f"'order-' || mod(n, {STREAMS})"
_PAYLOAD = f"""'{{"note": "{NOTE}", "total": "12.50", "customer": "number-' || n || '-"}}'"""


class Outbox(Protocol):
    """Where a contestant's events wait."""

    def fill(self, place: Place, numbers: range) -> None:
        """Write a backlog, and leave nothing of that for the server to do while something is measured."""

    def inserter(self, place: Place) -> Inserter:
        """Return how one event is written."""


class Contestant(Protocol):
    """One peer, or eventkit."""

    name: str  # in the JSON
    title: str  # in a table, with its release
    settings: str  # its settings, with reasons where they are not plain

    @property
    def outbox(self) -> Outbox:
        """Return its outbox."""

    def prepare(self) -> None:
        """Fetch and build the programs of the contestant; raise ServerMissing where that is impossible."""

    def carrier(self, place: Place) -> AbstractContextManager[Carrier]:
        """Lend its process, not started yet, which ends with the context and leaves nothing behind."""


class TableOutbox(msgspec.Struct, frozen=True):
    """The rows that a peer documents for its writers: SQL for each column, of a {key} and a {payload}."""

    table: str
    columns: Mapping[str, str]
    returning: str = ""

    def fill(self, place: Place, numbers: range) -> None:
        """Write it in transactions of a thousand."""
        statement = _FILL.format(
            first=numbers.start,
            last=numbers.stop - 1,
            together=_TOGETHER,
            table=self.table,
            columns=", ".join(self.columns),
            values=self._values(_KEY, _PAYLOAD),
        )
        with psycopg.connect(place.database_url, autocommit=True) as connection:
            connection.execute(statement.encode())
            connection.execute(f"vacuum (analyze) {self.table}".encode())
            connection.execute("checkpoint")

    def inserter(self, _: Place) -> Inserter:
        """Return the insert of one row."""
        columns, values = ", ".join(self.columns), self._values("%(key)s::text", "%(payload)s::text")
        return partial(_inserter, f"insert into {self.table} ({columns}) values ({values}) {self.returning}")

    def _values(self, key: str, payload: str) -> str:
        return ", ".join(value.format(key=key, payload=payload) for value in self.columns.values())


def _inserter(statement: str) -> Insert:
    def insert(connection: psycopg.Connection[Any], number: int) -> None:
        payload = f'{{"note": "{NOTE}", "total": "12.50", "customer": "number-{number}-"}}'
        connection.execute(statement.encode(), {"key": f"order-{number % STREAMS}", "payload": payload})

    return insert
