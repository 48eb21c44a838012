"""A database with the shop's read model in it, and another one beside it."""

from collections.abc import Iterator

import pytest

from eventkit.testing.databases import Databases
from tests.servers.postgres import PostgresServer
from tests.surroundings.rig import with_totals
from tests.surroundings.roles import Installation, with_roles


@pytest.fixture
def url(database_url: str) -> str:
    """A fresh database with eventkit's tables and an empty read model."""
    return with_totals(database_url)


@pytest.fixture
def other_url(postgres: PostgresServer) -> Iterator[str]:
    """Another one on the same server."""
    databases = Databases(postgres.url)
    url = databases.fresh()
    yield with_totals(url)
    databases.drop(url)
    databases.close()


@pytest.fixture
def installation(postgres: PostgresServer, database_url: str) -> Iterator[Installation]:
    """A database with the roles of `eventkit db roles`."""
    with with_roles(postgres, database_url) as made:
        yield made
