"""PostgreSQL for the tests: the system's, the wheel's release 18, or a given one; each test gets a fresh database.

A database with eventkit's tables is copied from a template that is migrated once a session, which takes some 20 ms in
memory, and ten times as long on some disks.
"""

import os
import secrets
from typing import Self

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from eventkit.embedded.binaries import Binaries, from_system, from_wheel
from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.testing.databases import Databases
from tests.servers import ServerMissing
from tests.surroundings.hostile import ENVIRONMENT, make_hostile

HOW_TO_GET = {
    15: "PostgreSQL 15 is not on this machine: install it (Debian: `apt-get install postgresql-15`)",
    18: "PostgreSQL 18 is not on this machine: `pip install 'eventkit-outbox[embedded]'` brings it",
}

_PASSWORD = secrets.token_urlsafe(24)


class PostgresServer:
    """A running server and the databases that tests make on it; `embedded` is its process, None if it was given."""

    def __init__(self, url: str, version: str, embedded: EmbeddedPostgres | None = None) -> None:
        """Use the server at `url`, as a role that may create databases."""
        self.url = url
        self.version = version
        self.embedded = embedded
        self._databases = Databases(url)

    @classmethod
    def start(cls, release: int, *, durable: bool = True) -> Self:
        """Start a server of one release; one that is not durable has its files in memory, and waits for commits too."""
        settings = {"synchronous_commit": "on"}
        embedded = EmbeddedPostgres(binaries=binaries(release).folder, settings=settings, durable=durable).start()
        if ENVIRONMENT in os.environ:
            make_hostile(embedded.url)
        return cls(embedded.url, embedded.version, embedded)

    @classmethod
    def given(cls, url: str) -> Self:
        """Use a server that runs already."""
        with psycopg.connect(url) as connection:
            return cls(url, str(connection.info.parameter_status("server_version")).split()[0])

    def stop(self) -> None:
        """Drop the databases made here, and end the server if it is ours."""
        if self.embedded:
            self.embedded.stop()
        else:
            self._databases.close()

    def fresh(self, *, migrated: bool = True) -> str:
        """Create a database and return its address; `migrated` says whether it has eventkit's tables."""
        return self._databases.fresh(migrated=migrated)

    def copy(self, url: str) -> str:
        """Return the address of a copy of a database to which nobody is connected; `drop` drops it."""
        name, source = f"test_{secrets.token_hex(6)}", make_url(url).database or ""
        statement = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(source))
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Drop a database that `fresh` made, with the sessions in it."""
        self._databases.drop(url)


def binaries(release: int) -> Binaries:
    """Return the programs of a release."""
    found = from_system(release) or from_wheel()
    if found is None or found.major != release:
        raise ServerMissing(HOW_TO_GET[release])
    return found


def program(server: PostgresServer, name: str) -> str:
    """Return the path of a program of the server's release, such as pg_dump."""
    release = int(server.version.split(".")[0])
    path = binaries(release).folder / name
    if not path.exists():
        raise ServerMissing(f"{name} {release} is not on this machine: install PostgreSQL's client programs")
    return str(path)


def default_release() -> int:
    """Return 15 if the system has it, else 18."""
    return 15 if from_system(15) else 18


def by_tcp(url: str, admin: str | None = None) -> str:
    """Return the address of an embedded server's database on 127.0.0.1, for clients that know no sockets.

    The role gets a password, by `admin` where it cannot change its own.
    """
    address = make_url(url)
    if "host" not in address.query:
        return url
    with psycopg.connect(admin or url, autocommit=True) as connection:
        given = sql.SQL("alter role {} password {}").format(sql.Identifier(address.username or ""), _PASSWORD)
        connection.execute(given)
    there = address.set(password=_PASSWORD, host="127.0.0.1", query={})
    return there.render_as_string(hide_password=False)
