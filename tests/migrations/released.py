"""A database as a released revision leaves it: its statements, with rows of a small story, in one file of SQL.

`python -m tests.migrations.released` writes the file of the newest revision, `released/<revision>.sql`, unless it is
there; `make release` asks for it. A released file is never changed: test_released.py upgrades each of them.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import Column, Integer, MetaData, Table, Text

from eventkit import Catalog, EventStore, TableProjection
from eventkit.storage import migrate
from eventkit.storage.tables import DEFAULT_SCHEMA, REVISIONS, metadata
from tests.servers.postgres import PostgresServer, default_release

FOLDER = Path(__file__).with_name("released")
CREATE = "create table paid (account text primary key, cents integer not null)"
shop = Catalog("shop")
store = EventStore(shop)


@shop.event
@dataclass(frozen=True)
class Paid:
    """An event that is applied, unless its amount is 0."""

    account: str
    cents: int


accounts = Table("paid", MetaData(), Column("account", Text, primary_key=True), Column("cents", Integer, default=0))
paid = TableProjection("paid", shop, table=accounts, key="account")


@paid.on(Paid)
def _paid(row: object, event: Paid) -> None:
    if event.cents == 0:
        raise ValueError("nothing was paid")
    row.cents += event.cents  # type: ignore[attr-defined]


def pay(url: str, account: str, *amounts: int) -> None:
    """Append payments of an account, with a tag."""
    with psycopg.connect(url) as connection:
        for cents in amounts:
            store.append(connection, shop.stream("account", account), Paid(account, cents), tags=[f"account:{account}"])


def project(url: str) -> None:
    """Bring the read model up to date, in a process of its own."""
    command = [sys.executable, "-m", "eventkit.cli", "projector", "run", f"{__spec__.name}:paid", "--from", "store"]
    settings = {**os.environ, "EVENTKIT_DATABASE_URL": url}
    subprocess.run([*command, "--until-idle", "0"], env=settings, cwd=Path(__file__).parents[2], check=True)


def story(url: str) -> None:
    """Make the rows: two accounts, of which one is parked at its second event."""
    with psycopg.connect(url) as connection:
        connection.execute(CREATE)
    pay(url, "ada", 5, 7)
    pay(url, "bob", 1, 0, 3)
    project(url)


def dump(url: str) -> str:
    """Return the statements that make the tables of the newest revision, and the rows of this database."""
    with psycopg.connect(url) as connection:
        return "\n".join([migrate.sql(), CREATE + ";", *_rows(connection)]) + "\n"


def load(url: str, text: str) -> None:
    """Run the statements of a file."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(text.encode())


def _rows(connection: psycopg.Connection) -> Iterator[str]:
    tables = [*metadata(DEFAULT_SCHEMA).sorted_tables, accounts]
    for table in tables:
        rows = connection.execute(f"select json_agg(t)::text from {table} t".encode()).fetchone()
        if rows is None or rows[0] is None:
            continue
        columns = ", ".join(f'"{column.name}"' for column in table.columns if column.computed is None)
        values = sql.Literal(rows[0]).as_string(connection)
        yield (
            f"insert into {table} ({columns}) overriding system value select {columns}\n"
            f"  from json_populate_recordset(null::{table}, {values}) on conflict do nothing;"
        )
        yield from (
            f"select setval(pg_get_serial_sequence('{table}', '{column.name}'), max({column.name})) from {table};"
            for column in table.columns
            if column.identity is not None
        )


def main() -> int:
    """Write the newest revision's file, unless it is there; return 1 if it was written."""
    file = FOLDER / f"{REVISIONS[-1]}.sql"
    if file.exists():
        return 0
    server = PostgresServer.start(default_release())
    try:
        url = server.fresh(migrated=True)
        story(url)
        FOLDER.mkdir(exist_ok=True)
        file.write_text(dump(url))
    finally:
        server.stop()
    return 1


if __name__ == "__main__":
    sys.exit(main())
