"""A database with the tables of the shop's payments in it."""

import psycopg
import pytest

from tests.messaging.payments import CREATE


@pytest.fixture
def url(database_url: str) -> str:
    """A fresh database with eventkit's tables and the service's own."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    return database_url
