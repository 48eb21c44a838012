"""The page needs the database role of a reader to read, and of an operator to act."""

from collections.abc import Iterator

import psycopg
import pytest
from starlette.testclient import TestClient

from eventkit import Settings
from eventkit.web import ACTIONS, Access, app
from tests.servers.postgres import PostgresServer
from tests.surroundings.roles import Installation, with_roles
from tests.web import shop
from tests.web.conftest import HOST, Shop, send
from tests.web.test_access import QUERIES, READS, address

REFUSED = """insert into eventkit.dead_letters (parked_by, stream, version, position, event_id, type, cause, error,
       attempts) select 'relay', stream, version, position, id, type, 'refused', 'too large', 1 from eventkit.events"""


@pytest.fixture(scope="module")
def installation(postgres: PostgresServer) -> Iterator[Installation]:
    """A database with roles, an event and its letter."""
    with with_roles(postgres, postgres.fresh()) as found:
        shop.create(found.url)
        shop.place(found.url, "order-1", shop.OrderPlaced("ann", 1))
        Shop(found.url).apply()
        shop.manage(found.url)
        with psycopg.connect(found.url) as connection:
            connection.execute(REFUSED.encode())
        yield found


def visitor(url: str) -> TestClient:
    """Return a visitor who may do everything; the database decides."""
    access = Access(who="ann", actions=ACTIONS, payloads="full")
    return TestClient(app(Settings(database_url=url), access=lambda _: access, read_only=False), base_url=HOST)


@pytest.mark.parametrize("path", READS)
def test_a_reader_sees_every_screen(installation: Installation, path: str) -> None:
    """Nothing that a screen asks needs another right."""
    with psycopg.connect(installation.url) as connection:
        [event] = connection.execute(b"select id::text from eventkit.events").fetchone() or [""]
    place = address(Shop(installation.url, {"order-1": [event]}), path)

    with visitor(installation.members["reader"]) as browser:
        answer = browser.get(place + QUERIES.get(path, ""))

    assert answer.status_code == 200
    assert "denies a privilege" not in answer.text


def test_an_operator_acts_and_a_reader_does_not(installation: Installation) -> None:
    """A reader's action is refused by the database, with the missing grant; an operator's is done."""
    with visitor(installation.members["reader"]) as browser:
        refused, reason = send(browser, "/pause/projection?name=customer_totals")
    with visitor(installation.members["operator"]) as browser:
        paused, text = send(browser, "/pause/projection?name=customer_totals", reason="moving")
        discarded, said = send(browser, "/letters/discard?letter=1")

    assert (refused, "denies a privilege" in reason) == (409, True)
    assert (paused, "Paused by ann" in text) == (200, True)
    assert (discarded, "discarded 1 letter" in said) == (200, True)
