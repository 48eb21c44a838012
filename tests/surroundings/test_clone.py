"""A real copy of a database on the same broker, from end to end: detected, adopted, and every read model exact."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy.engine import make_url

from eventkit.errors import InstallationMoved
from eventkit.storage.db.connection import connect
from eventkit.storage.schema.installation import adopt
from eventkit.transports import open_transport
from eventkit.worker import Stop
from tests.projection.shop import rows
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.surroundings.rig import COUNTED, category, order, projected, relay, relayed, totals


@pytest.fixture
def copied(postgres: PostgresServer, url: str) -> Iterator[str]:
    """The address of a copy of the test's database, which `copy` makes."""
    name = make_url(url).database
    yield make_url(postgres.url).set(database=f"{name}_copy").render_as_string(hide_password=False)
    with psycopg.connect(postgres.url, autocommit=True) as session:
        session.execute(f"drop database if exists {name}_copy with (force)".encode())


def copy(server: str, url: str) -> None:
    """Copy a database."""
    name = make_url(url).database
    with psycopg.connect(server, autocommit=True) as session:
        session.execute(f"create database {name}_copy template {name}".encode())


def test_a_clone_shares_nothing_with_its_original(
    postgres: PostgresServer, url: str, copied: str, redis: RedisServer
) -> None:
    """Its relay is stopped until it is adopted, then refused on the original's topic; both read models have all."""
    name = category(redis.url)
    order(url, name, *range(10))
    relayed(url, redis.url)
    projected(url, redis.url, totals(name))
    order(url, name, *range(10, 15))
    copy(postgres.url, url)
    order(url, name, *range(15, 20))

    with pytest.raises(InstallationMoved, match="adopt --clone"):
        relay(copied, open_transport(redis.url)).run(Stop())
    relayed(url, redis.url)
    for each in (url, copied):
        projected(each, redis.url, totals(name), store_url=url)
    assert rows(url, COUNTED) == rows(copied, COUNTED) == [("ann", 20)]

    with connect(copied, name="test", autocommit=True) as session:
        clone = adopt(session, "eventkit", clone=True)
    holder = open_transport(redis.url).claim([f"shop.{name}"], str(clone.id))[f"shop.{name}"]
    assert holder != str(clone.id)
    order(url, name, *range(20, 23))
    relayed(url, redis.url)
    for each in (copied, url):
        projected(each, redis.url, totals(name), store_url=url)
    assert rows(url, COUNTED) == rows(copied, COUNTED) == [("ann", 23)]
