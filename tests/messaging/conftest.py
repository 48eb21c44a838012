"""A database with the shop's own tables in it: charges of its payments, rows of its processes."""

import psycopg
import pytest

from tests.messaging import fulfilment, payments


@pytest.fixture
def url(database_url: str) -> str:
    """A fresh database with eventkit's tables and the service's own."""
    with psycopg.connect(database_url) as connection:
        connection.execute(payments.CREATE)
        connection.execute(fulfilment.CREATE)
    return database_url
