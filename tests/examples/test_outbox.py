"""The outbox in a FastAPI service and in plain SQLAlchemy: state and event are committed together, or neither."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from httpx import ASGITransport, AsyncClient
from sqlalchemy import create_engine, event
from sqlalchemy.exc import OperationalError

from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.transports.base import open_transport
from examples import outbox_fastapi
from examples.outbox_sqlalchemy import metadata, surely
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def client(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncClient]:
    """Somebody who asks the service."""
    monkeypatch.setenv("EVENTKIT_DATABASE_URL", database_url)
    outbox_fastapi.engine.cache_clear()
    app = outbox_fastapi.app
    asks = AsyncClient(transport=ASGITransport(app), base_url="http://shop")
    async with app.router.lifespan_context(app), asks as client:
        yield client


def written(url: str) -> list[tuple[object, ...]]:
    """Return the orders, each with its event, whichever of the two is there."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "select customer, type, data->>'total' from orders"
            " full join eventkit.events on stream = 'order-' || orders.id order by 1"
        ).fetchall()


async def test_a_request_commits_the_order_with_its_event_before_it_is_answered(
    client: AsyncClient, database_url: str
) -> None:
    """Who got 201 can rely on both."""
    answer = await client.post("/orders", json={"customer": "ada", "total": "12.50"})

    assert answer.status_code == 201
    assert written(database_url) == [("ada", "OrderPlaced", "12.50")]


async def test_a_request_that_fails_leaves_neither(client: AsyncClient, database_url: str) -> None:
    """Also when it fails after the event was appended."""
    answer = await client.post("/orders", json={"customer": "ada", "total": "0"})

    assert answer.status_code == 422
    assert written(database_url) == []


def test_events_committed_with_plain_sqlalchemy_are_relayed(database_url: str, embedded_kafka: EmbeddedKafka) -> None:
    """By the commands of its first lines: one order, one event, one message."""
    transport = open_transport(embedded_kafka.url)
    transport.create_topics(["shop.order"], partitions=1)
    settings = {
        **os.environ,
        "EVENTKIT_DATABASE_URL": database_url,
        "EVENTKIT_TRANSPORT_URL": embedded_kafka.url,
    }
    subprocess.run([sys.executable, "-m", "examples.outbox_sqlalchemy"], env=settings, cwd=ROOT, check=True)
    assert written(database_url) == [("ada", "OrderPlaced", "12")]

    with (
        subprocess.Popen([sys.executable, "-m", "eventkit.cli", "relay", "run"], env=settings, cwd=ROOT) as relay,
        closing(transport.subscribe(["shop.order"], "test")) as subscription,
    ):
        [message] = wait_until(lambda: subscription.receive(10, 0.5), timeout=60)
        relay.terminate()
    transport.close()

    assert dict(message.headers)["ce_type"] in (b"OrderPlaced", "OrderPlaced")
    assert relay.returncode == 0


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_connection_lost_at_the_commit_is_made_good(database_url: str, moment: str) -> None:
    """Whether the commit had been done or not, the retry ends with one order and one event."""
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    metadata.create_all(engine)
    lost: list[int] = []

    @event.listens_for(engine, "commit")
    def lose(connection: object) -> None:
        if not lost:
            lost.append(1)
            driver = connection.connection.driver_connection  # type: ignore[attr-defined]
            if moment == "after":
                driver.commit()
            driver.close()
            raise OperationalError("commit", None, Exception("the connection was lost"))

    surely(engine, uuid4(), "ada", 12)
    engine.dispose()

    assert lost == [1]
    assert written(database_url) == [("ada", "OrderPlaced", "12")]
