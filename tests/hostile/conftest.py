"""A broker and a database in which nothing has happened yet."""

import uuid
from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest

from eventkit.transports import Transport, open_transport
from eventkit.transports.rabbitmq import topology
from tests.hostile.foreign import Send, sender
from tests.projection.shop import CREATE


class Broker(NamedTuple):
    """One of the five: somebody foreign sends to it."""

    name: str
    url: str
    transport: Transport
    send: Send


@pytest.fixture
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """The session's broker of that name."""
    monkeypatch.setattr(topology, "NOTED", 0)
    name: str = request.param
    url = f"local://{uuid.uuid4().hex}" if name == "local" else request.getfixturevalue(name).url
    transport = open_transport(url)
    yield Broker(name, url, transport, sender(url))
    transport.close()


@pytest.fixture
def url(database_url: str) -> str:
    """A database with the shop's read model."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    return database_url
