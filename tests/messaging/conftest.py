"""A database with the tables of the services in it, and a broker with the topics of the price desk."""

import uuid

import psycopg
import pytest

from eventkit.transports.local import LocalTransport
from tests.messaging import fulfilment, payments, pricing


@pytest.fixture
def url(database_url: str) -> str:
    """A fresh database with eventkit's tables and the service's own."""
    with psycopg.connect(database_url) as connection:
        connection.execute(payments.CREATE)
        connection.execute(fulfilment.CREATE)
        connection.execute(pricing.CREATE)
    return database_url


@pytest.fixture
def name() -> str:
    """A broker's name."""
    return uuid.uuid4().hex


@pytest.fixture
def transport(name: str) -> LocalTransport:
    """A broker of the test's own, with the topics."""
    transport = LocalTransport(name)
    transport.create_topics(pricing.TOPICS, partitions=3)
    return transport
