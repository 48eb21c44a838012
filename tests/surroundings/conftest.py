"""A database with the shop's read model in it, and another one beside it."""

from collections.abc import Iterator

import pytest

from eventkit.testing.databases import Databases
from tests.servers.postgres import PostgresServer
from tests.surroundings.rig import with_totals


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
