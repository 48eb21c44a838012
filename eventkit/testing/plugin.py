"""Fixtures of pytest for tests of services; they are available wherever eventkit is installed.

`eventkit_database` is the address of a fresh PostgreSQL database with eventkit's tables, `eventkit_engine` a SQLAlchemy
engine on it, `eventkit_transport` an in-process transport for one test, `eventkit_master_keys` keys for personal data.
The server is the embedded one, started once per session. To use another, define a session fixture `eventkit_server`
that returns its address.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from eventkit.domain.master_keys import MasterKeys
    from eventkit.testing.databases import Databases
    from eventkit.transports.base import Transport


@pytest.fixture(scope="session")
def eventkit_server() -> Iterator[str]:
    """Return the address of a PostgreSQL server, as a role that may create databases: the embedded one."""
    from eventkit.embedded.postgres import EmbeddedPostgres

    with EmbeddedPostgres(durable=False) as server:
        yield server.url


@pytest.fixture(scope="session")
def eventkit_databases(eventkit_server: str) -> "Iterator[Databases]":
    """Return databases on that server, each copied from a template."""
    from eventkit.testing.databases import Databases

    databases = Databases(eventkit_server)
    yield databases
    databases.close()


@pytest.fixture
def eventkit_database(eventkit_databases: "Databases") -> Iterator[str]:
    """Return the address of a fresh database with eventkit's tables."""
    url = eventkit_databases.fresh()
    yield url
    eventkit_databases.drop(url)


@pytest.fixture
def eventkit_engine(eventkit_database: str) -> "Iterator[Engine]":
    """Return a SQLAlchemy engine on that database."""
    from sqlalchemy import create_engine, make_url

    engine = create_engine(make_url(eventkit_database).set(drivername="postgresql+psycopg"))
    yield engine
    engine.dispose()


@pytest.fixture
def eventkit_transport() -> "Iterator[Transport]":
    """Return an in-process transport for this test alone."""
    from eventkit.transports.base import open_transport

    transport = open_transport(f"local://{uuid4().hex}")
    yield transport
    transport.close()


@pytest.fixture(scope="session")
def eventkit_master_keys() -> "MasterKeys":
    """Return new master keys, for stores that write personal data (the extra `privacy`)."""
    from eventkit.domain.master_keys import MasterKeys

    return MasterKeys.parse(MasterKeys.generate("testing"))
