"""The services of docs/frameworks.md, by the test clients of their frameworks, on PostgreSQL and Redis."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
from litestar.testing import TestClient as LitestarClient
from starlette.testclient import TestClient

from eventkit.transports import open_transport
from tests.examples.test_programs import lines_of_code
from tests.servers.redis import GivenRedis, RedisServer
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "frameworks"
TOPICS = ["shop.order", "shop.parcel", "shop.price", "pricing.price", "shop.replies"]


@pytest.fixture
def settings(database_url: str, redis: RedisServer | GivenRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings of a service, in the environment, and the topics of all."""
    monkeypatch.setenv("EVENTKIT_DATABASE_URL", database_url)
    monkeypatch.setenv("EVENTKIT_TRANSPORT_URL", redis.url)
    with closing(open_transport(redis.url)) as transport:
        transport.create_topics(TOPICS, partitions=1)
    yield
    for name in [name for name in sys.modules if name.startswith("examples.frameworks.")]:
        del sys.modules[name]  # the next test's settings are others


def loaded(name: str) -> ModuleType:
    """Import an example, which reads its settings then."""
    return importlib.import_module(f"examples.frameworks.{name}")


def run(*words: str) -> None:
    """Run one of the commands of an example's first lines."""
    subprocess.run([sys.executable, "-m", *words], env=os.environ, cwd=ROOT, check=True)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def orders(url: str, column: str) -> list[tuple[object, ...]]:
    """Return the orders beside the events: whether the stream is the order's, and a value of each."""
    matches = f"select stream = 'order-' || orders.id, {column}, data->>'{column}'"
    return rows(url, f"{matches} from orders full join eventkit.events on true")


@pytest.mark.usefixtures("settings")
def test_fastapi_takes_an_order_at_the_price_that_it_has_heard(database_url: str) -> None:
    """Without a price the order is refused, and nothing is written."""
    run("examples.frameworks.fastapi_shop")
    with TestClient(loaded("fastapi_shop").app) as client:
        refused = client.post("/orders/tea")
        client.put("/prices/tea/350")
        wait_until(lambda: client.post("/orders/tea").status_code == 201)

    assert refused.status_code == 409
    assert orders(database_url, "cents") == [(True, 350, "350")]


@pytest.mark.usefixtures("settings")
def test_starlette_answers_with_the_reply_of_another_service() -> None:
    """Its price, or that there is none."""
    desk = [sys.executable, "-m", "eventkit.cli", "projector", "run", "examples.frameworks.starlette_shop:desk"]
    with subprocess.Popen(desk, cwd=ROOT) as process, TestClient(loaded("starlette_shop").app) as client:
        found, missing = client.get("/prices/tea"), client.get("/prices/rope")
        process.terminate()

    assert (found.status_code, found.json()) == (200, {"cents": 350})
    assert (missing.status_code, missing.json()) == (404, {"error": "there is no rope"})


@pytest.mark.usefixtures("settings")
def test_litestar_commits_an_order_and_sends_a_command(database_url: str) -> None:
    """The order and its event are there; the command is handled by another process."""
    with psycopg.connect(database_url) as connection:
        connection.execute("create table orders (id uuid, article text); create table parcels (article text)")
    with LitestarClient(loaded("litestar_shop").app) as client:
        order = client.post("/orders", json={"article": "tea"})
        sent = client.post("/parcels", json={"article": "tea"})
    packing = [sys.executable, "-m", "eventkit.cli", "projector", "run", "examples.frameworks.litestar_shop:packing"]
    with subprocess.Popen(packing, cwd=ROOT) as process:
        wait_until(lambda: rows(database_url, "select article from parcels") == [("tea",)])
        process.terminate()

    assert (order.status_code, sent.status_code) == (201, 201)
    assert rows(database_url, "select stream, orders.id::text from eventkit.events, orders") == [
        (f"order-{order.json()}", order.json())
    ]


@pytest.mark.usefixtures("settings")
def test_flask_commits_an_order_with_its_event_or_neither(database_url: str) -> None:
    """A request that is refused after the append leaves nothing, and the next one works."""
    app = loaded("flask_shop").app
    app.test_cli_runner().invoke(args=["create-tables"])
    client = app.test_client()

    refused = client.post("/orders", json={"customer": "bob", "cents": 0})
    placed = client.post("/orders", json={"customer": "ada", "cents": 1250})

    assert (refused.status_code, placed.status_code) == (422, 201)
    assert orders(database_url, "customer") == [(True, "ada", "ada")]


@pytest.mark.usefixtures("settings")
def test_a_sqlmodel_is_a_row_beside_an_event_and_a_read_model(database_url: str) -> None:
    """The program commits both; the projector folds the events into the other model."""
    run("examples.frameworks.sqlmodel_shop")
    target = "examples.frameworks.sqlmodel_shop:totals"
    run("eventkit.cli", "projector", "run", target, "--from", "store", "--until-idle", "0")

    assert rows(database_url, "select count(*) from eventkit.events") == [(2,)]
    assert rows(database_url, "select customer, orders, total::text from customertotals") == [("ada", 2, "20.00")]


@pytest.mark.parametrize("example", sorted(FOLDER.glob("*_shop*")), ids=lambda path: path.stem)
def test_an_example_fits_on_a_screen(example: Path) -> None:
    """Fewer than 60 lines of code."""
    files = [example] if example.is_file() else example.rglob("*.py")

    assert sum(lines_of_code(file.read_text()) for file in files) < 60
