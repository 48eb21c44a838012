"""Events of a category that has no topic: they are appended and read as all others, and no row waits for a relay."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from eventkit import Append, Catalog, Deadlines, EventStore
from eventkit.domain.catalog.catalog_export import describe
from eventkit.domain.catalog.compatibility import breaks
from eventkit.errors import CatalogError
from eventkit.storage.db.connection import connect
from eventkit.storage.timers import LEASE, DueTimers
from tests.cli.test_db import eventkit


@dataclass(frozen=True)
class Noted:
    """Something happened."""

    number: int = 0


def catalog(*, published: bool = True, **topics: str | None) -> Catalog:
    """Return a catalog with one event."""
    made = Catalog("shop", topics=topics, published=published)
    made.event(Noted)
    return made


def outbox(url: str) -> list[tuple[str, str]]:
    """Return which streams wait for a relay, and where they go."""
    with psycopg.connect(url) as session:
        query = "select stream, topic from eventkit.outbox join eventkit.events using (position) order by position"
        return session.execute(query).fetchall()


def test_a_category_without_a_topic_waits_for_no_relay(database_url: str) -> None:
    """Alone, beside others in one call, and as a fired deadline: only published categories are in the outbox."""
    shop = catalog(draft=None, order="sales")
    store = EventStore(shop)
    with psycopg.connect(database_url) as session:
        store.append(session, shop.stream("draft", 1), Noted())
        store.append(session, shop.stream("draft", 1), Noted(1), Noted(2))
        store.append_many(
            session, [Append(shop.stream("draft", 2), [Noted()]), Append(shop.stream("order", 1), [Noted()])]
        )
        Deadlines(store).set(session, shop.stream("draft", 3), Noted(), timedelta(0))
        Deadlines(store).set(session, shop.stream("order", 3), Noted(), timedelta(0))
    fire(database_url)

    assert outbox(database_url) == [("order-1", "sales"), ("order-3", "sales")]
    with psycopg.connect(database_url) as session:
        assert [each.event.number for each in store.read_stream(session, shop.stream("draft", 1))] == [0, 1, 2]
        assert len(list(store.read_stream(session, shop.stream("draft", 3)))) == 1


def fire(url: str) -> None:
    """Let the deadlines fire."""
    with connect(url, name="timers", autocommit=True) as session:
        session.execute("insert into eventkit.leases values (%s, 1, 'test', 'infinity')", [LEASE])
        DueTimers(session, "eventkit", epoch=1).fire(datetime.now(UTC) + timedelta(minutes=1))


def test_a_store_without_a_broker_is_pruned_when_its_read_models_are_through(database_url: str) -> None:
    """`Catalog(…, published=False)`: nothing waits in the outbox, so events that projectors have applied can go."""
    shop = catalog(published=False)
    with psycopg.connect(database_url) as session:
        EventStore(shop).append(session, shop.stream("order", 1), Noted(), Noted())
        session.execute("create role eventkit_maintenance nologin")
        session.execute("grant usage on schema eventkit to eventkit_maintenance")
        session.execute("grant select, delete on eventkit.events to eventkit_maintenance")
        session.commit()
        pruned = eventkit("events", "prune", "--sent", "--older-than", "0s", "--yes", url=database_url)
        session.execute("drop owned by eventkit_maintenance")
        session.execute("drop role eventkit_maintenance")

    assert outbox(database_url) == []
    assert "2 events pruned" in pruned.stdout, pruned.stderr


def test_a_subscription_to_a_category_without_a_topic_is_refused() -> None:
    """Nothing would ever come: the sentence says where to read."""
    for shop in (catalog(draft=None), catalog(published=False)):
        with pytest.raises(CatalogError, match=r"category 'draft' go to no broker.*--from store"):
            shop.topics_of(["draft"])


def test_a_release_that_stops_publishing_a_category_is_named() -> None:
    """Readers of the topic would get no more events: the check of a release says so."""
    found = breaks(describe(catalog()), describe(catalog(order=None)))

    assert "'order' went to topic 'shop.order' and go to no broker" in str(found)


def test_a_session_that_reads_null_in_an_array_as_text_publishes_no_more(database_url: str) -> None:
    """With `array_nulls = off`, as some role may have it, no event goes to a topic that is named null."""
    shop = catalog(draft=None)
    with psycopg.connect(database_url) as session:
        session.execute("set array_nulls = off")
        EventStore(shop).append(session, shop.stream("draft", 1), Noted(1), Noted(2))
        Deadlines(EventStore(shop)).set(session, shop.stream("draft", 1), Noted(3), timedelta(0))
        topics = session.execute("select topic from eventkit.timers").fetchall()

    assert outbox(database_url) == []
    assert topics == [(None,)]
