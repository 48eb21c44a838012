"""A topic has the events of one installation, unless its operator says otherwise; and every topic finds its readers."""

import subprocess
import sys
from dataclasses import dataclass

import psycopg
import pytest
from click.testing import CliRunner

from eventkit import Catalog, EventStore, TableProjection
from eventkit.cli import main
from eventkit.projection.run.topics import topics_of_store
from eventkit.relay import Claims, Relay
from eventkit.storage.db.connection import connect
from eventkit.storage.events.categories import topics_in_use
from eventkit.transports import Transport, open_transport
from eventkit.worker import Stop
from tests.projection.shop import TOTALS, Total, rows
from tests.servers.redis import RedisServer
from tests.surroundings.rig import COUNTED, category, found, order, projected, relayed, totals
from tests.waiting import wait_until

billing = Catalog("billing")


@billing.event
@dataclass(frozen=True)
class Billed:
    """An event of a second catalog."""

    customer: str


def bills(*categories: str) -> TableProjection:
    """Return a read model of the second catalog's events."""
    projection = TableProjection("bills", billing, table=TOTALS, key="customer", categories=categories)

    @projection.on(Billed)
    def billed(row: Total, event: Billed) -> None:
        del event
        row.orders += 1

    return projection


def bill(url: str, category: str) -> None:
    """Append an event of the second catalog."""
    with psycopg.connect(url) as connection:
        EventStore(billing).append(connection, billing.stream(category, "b1"), Billed("ann"))


class Rows(Stop):
    """Asks for an end when so many rows are left in the outbox, or the log has some words."""

    def __init__(self, url: str, left: int, log: pytest.LogCaptureFixture, words: str) -> None:
        super().__init__()
        self._url, self._left, self._log, self._words = url, left, log, words

    def is_set(self) -> bool:
        """Look."""
        left = found(self._url, "select count(*) from eventkit.outbox")
        return self._words in self._log.text and left == [(self._left,)]


def run(url: str, transport: Transport, stop: Stop, *, share_topics: bool = False) -> None:
    """Run a database's relay."""
    claims = Claims(transport, share_topics=share_topics)
    Relay(
        lambda name: connect(url, name=name, autocommit=True), transport, schema="eventkit", owner="t", claims=claims
    ).run(stop)


def test_another_installation_does_not_send_to_a_topic(
    url: str, other_url: str, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Its events stay in the outbox, those of its other topics are sent, and the error has the remedy."""
    mine, theirs = category(redis.url), category(redis.url)
    order(url, mine, 1)
    relayed(url, redis.url)
    order(other_url, mine, 2)
    order(other_url, theirs, 2)

    run(other_url, open_transport(redis.url), Rows(other_url, 1, caplog, "--share-topic"))

    ((installation,),) = found(url, "select id::text from eventkit.installation")
    assert f"topic shop.{mine} is held" in caplog.text
    assert f"the relay of installation {installation} sends to it" in caplog.text
    assert found(other_url, "select topic from eventkit.outbox") == [(f"shop.{mine}",)]


def test_shards_of_one_service_share_a_topic(url: str, other_url: str, redis: RedisServer) -> None:
    """Where the operator says so; the topic stays the first one's."""
    name = category(redis.url)
    for store, number in ((url, 1), (other_url, 2)):
        order(store, name, number)
    relayed(url, redis.url)

    class Emptied(Stop):
        def is_set(self) -> bool:
            return found(other_url, "select 1 from eventkit.outbox") == []

    run(other_url, open_transport(redis.url), Emptied(), share_topics=True)
    relayed(url, redis.url)

    wait_until(lambda: found(other_url, "select 1 from eventkit.outbox") == [])


def test_a_relay_is_refused_at_its_start(url: str, other_url: str, redis: RedisServer) -> None:
    """By the command, with one sentence; after the claim is released it starts."""
    name = category(redis.url)
    order(url, name, 1)
    relayed(url, redis.url)
    order(other_url, name, 2)
    settings = ["--database-url", other_url, "--transport-url", redis.url]

    refused = CliRunner().invoke(main, [*settings, "relay", "run"])
    released = CliRunner().invoke(main, [*settings, "topics", "release", f"shop.{name}"])

    assert refused.exit_code == 1
    assert "their streams would mix" in refused.output
    assert released.exit_code == 0
    assert "tries a held topic again" in released.output
    assert found(other_url, "select action, subject from eventkit.operator_actions") == [
        ("release", f"topic shop.{name}")
    ]
    relayed(other_url, redis.url)


def test_a_relay_starts_while_one_of_its_topics_is_another_installations(
    url: str, other_url: str, redis: RedisServer
) -> None:
    """Like a running relay it holds this topic and sends the others; `topics check` says so until it is released."""
    mine, theirs = category(redis.url), category(redis.url)
    order(url, mine, 1)
    relayed(url, redis.url)
    order(other_url, mine, 2)
    order(other_url, theirs, 2)
    settings = ["--database-url", other_url, "--transport-url", redis.url]

    with subprocess.Popen([sys.executable, "-m", "eventkit.cli", *settings, "relay", "run"]) as relay:
        try:
            wait_until(lambda: found(other_url, "select topic from eventkit.outbox") == [(f"shop.{mine}",)])
            checks = [
                CliRunner().invoke(main, [*settings, "topics", "check", f"shop.{name}"]) for name in (mine, theirs)
            ]
            CliRunner().invoke(main, [*settings, "topics", "release", f"shop.{mine}"])
            wait_until(lambda: found(other_url, "select topic from eventkit.outbox") == [])
        finally:
            relay.terminate()

    assert [done.exit_code for done in checks] == [1, 0]
    assert "the relay holds it: the relay of installation" in checks[0].output
    assert relay.returncode == 0


def test_a_second_catalog_of_a_category_is_subscribed_to(url: str, redis: RedisServer) -> None:
    """Also where its events came after those of another catalog: the relay's topics are remembered."""
    name = category(redis.url)
    open_transport(redis.url).create_topics([f"billing.{name}"], partitions=2)
    order(url, name, 1)
    bill(url, name)

    with psycopg.connect(url, autocommit=True) as store:
        assert topics_of_store(bills(), store, "eventkit") == [f"billing.{name}"]  # while it waits
        relayed(url, redis.url)
        assert topics_of_store(bills(), store, "eventkit") == [f"billing.{name}"]
        assert topics_of_store(totals(), store, "eventkit") == [f"shop.{name}"]
        assert topics_in_use(store, "eventkit") == [f"billing.{name}", f"shop.{name}"]
    projected(url, redis.url, bills())

    assert rows(url, COUNTED) == [("ann", 1)]
