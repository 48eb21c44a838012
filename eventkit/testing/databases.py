"""Databases for tests: each test gets a copy of a template that is migrated once (about 50 ms per copy in memory).

Each copy is adopted as a separate installation; otherwise a relay would refuse it as a restored database.
"""

import uuid
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine import make_url

from eventkit.storage import migrate
from eventkit.storage.db import starting_options
from eventkit.storage.schema import adopt
from eventkit.storage.tables import DEFAULT_SCHEMA


class Databases:
    """Test databases on one server; the role in `url` must be allowed to create databases."""

    def __init__(self, url: str, *, schema: str = DEFAULT_SCHEMA) -> None:
        self._url = url
        self._schema = schema
        self._template = ""

    def fresh(self, *, migrated: bool = True) -> str:
        """Create a database, with eventkit's tables if `migrated`, and return its address."""
        name = _unique("test")
        self._execute("create database {} template {}", name, self._migrated() if migrated else "template1")
        url = self._address(name)
        if migrated:
            with _connect(url) as connection:
                adopt(connection, self._schema, clone=True)
        return url

    def drop(self, url: str) -> None:
        """Drop a database of `fresh`, and end its sessions."""
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
        with _connect(self._url) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _address(self, name: str) -> str:
        return make_url(self._url).set(database=name).render_as_string(hide_password=False)


def _connect(url: str) -> psycopg.Connection[Any]:
    """Open a session without the limits of its role; eventkit's other settings would cost some milliseconds a test."""
    given = conninfo_to_dict(url).get("options")
    return psycopg.connect(url, autocommit=True, options=starting_options(None if given is None else str(given)))


def _unique(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:12]}"
