"""A database with the shop's read model in it."""

import psycopg
import pytest

from tests.projection.shop import CREATE


@pytest.fixture
def url(database_url: str) -> str:
    """A fresh database with eventkit's tables and an empty read model."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    return database_url
