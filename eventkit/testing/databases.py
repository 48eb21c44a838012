"""Databases for tests: each test gets a fresh one, copied from a template that is migrated once (some 50 ms a copy).

Each copy is adopted as an installation of its own, or a relay would take it for a database that was restored elsewhere.
"""

import uuid

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from eventkit.storage import migrate
from eventkit.storage.schema import adopt
from eventkit.storage.tables import DEFAULT_SCHEMA


class Databases:
    """The databases that tests make on one server, as a role that may create databases."""

    def __init__(self, url: str, *, schema: str = DEFAULT_SCHEMA) -> None:
        """Use the server at `url`."""
        self._url = url
        self._schema = schema
        self._template = ""

    def fresh(self, *, migrated: bool = True) -> str:
        """Create a database and return its address; `migrated` says whether it has eventkit's tables."""
        name = _unique("test")
        self._execute("create database {} template {}", name, self._migrated() if migrated else "template1")
        url = self._address(name)
        if migrated:
            with psycopg.connect(url, autocommit=True) as connection:
                adopt(connection, self._schema, clone=True)
        return url

    def drop(self, url: str) -> None:
        """Drop a database that `fresh` made, with the sessions in it."""
        self._execute("drop database if exists {} with (force)", make_url(url).database or "")

    def close(self) -> None:
        """Drop the template."""
        if self._template:
            self._execute("drop database if exists {} with (force)", self._template)
        self._template = ""

    def _migrated(self) -> str:
        if not self._template:
            name = _unique("eventkit_template")
            self._execute("create database {} template {}", name, "template1")
            migrate.upgrade(self._address(name), self._schema)
            self._template = name
        return self._template

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _address(self, name: str) -> str:
        return make_url(self._url).set(database=name).render_as_string(hide_password=False)


def _unique(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:12]}"
