"""The database keeps the offsets of its projections, even if the broker restores, forgets or recreates them."""

from collections.abc import Callable

import psycopg
import pytest
import redis as client
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from eventkit import Sender
from eventkit.errors import DatabaseUnavailable, PlaceGone
from eventkit.projection.define.projection import Projection
from eventkit.projection.run.backfill import Backfill
from eventkit.projection.run.resume import Begin
from eventkit.storage.projections.broker_places import BrokerPlaces
from eventkit.transports import open_transport
from eventkit.transports.redis.topics import stream_key
from tests.projection.shop import Ordered, rows, shop
from tests.surroundings.rig import COUNTED, acting, category, execute, found, order, projected, relayed, totals

PLACES = "select topic, shard, place from eventkit.places order by 1, 2"
# A projection's rows in a table, before and after a restore to an earlier dump.
KEPT = ("totals", "eventkit.checkpoints", "eventkit.inbox", "eventkit.places")


@pytest.fixture(params=["redis", "kafka"])
def broker(request: pytest.FixtureRequest) -> str:
    """Brokers that have places."""
    return str(request.getfixturevalue(request.param).url)


def dump(url: str) -> None:
    """Keep the present content of the read models' database."""
    execute(url, *(f"create table kept_{table.rpartition('.')[2]} as table {table}" for table in KEPT))


def restore(url: str) -> None:
    """Let the database be as it was."""
    for table in KEPT:
        execute(url, f"truncate {table}", f"insert into {table} table kept_{table.rpartition('.')[2]}")


def send(broker: str, category: str, *numbers: int) -> None:
    """Send commands past the store, so that nothing but the broker has them."""
    transport = open_transport(broker)
    with Sender(transport, shop) as sender:
        for number in numbers:
            sender.send(shop.stream(category, number), Ordered("ann", 1))
    transport.close()


def forget(broker: str, url: str) -> None:
    """Let the broker forget all groups of a database, as Kafka does after seven days."""
    transport = open_transport(broker)
    for group, topics in found(url, "select name, topics from eventkit.groups"):
        transport.forget(topics, group)  # type: ignore[arg-type]
    transport.close()


@pytest.mark.parametrize("make", [totals, acting])
def test_a_database_restored_to_an_earlier_state_catches_up(
    url: str, broker: str, make: Callable[[str], Projection]
) -> None:
    """Its group is ahead of it at the broker, and is sought back; nothing takes effect twice."""
    name = category(broker)
    send(broker, name, *range(10)) if make is acting else order(url, name, *range(10))
    relayed(url, broker)
    projected(url, broker, make(name))
    dump(url)
    send(broker, name, *range(10, 25)) if make is acting else order(url, name, *range(10, 25))
    relayed(url, broker)
    projected(url, broker, make(name))
    assert rows(url, COUNTED) == [("ann", 25)]

    restore(url)
    projected(url, broker, make(name))

    assert rows(url, COUNTED) == [("ann", 25)]


def test_commands_are_not_done_again_where_the_broker_forgot_the_group(url: str, broker: str) -> None:
    """Also where the inbox was pruned meanwhile: the place is in the database."""
    name = category(broker)
    send(broker, name, *range(10))
    projected(url, broker, acting(name))
    forget(broker, url)
    execute(url, "truncate eventkit.inbox")
    send(broker, name, *range(10, 13))

    projected(url, broker, acting(name))

    assert rows(url, COUNTED) == [("ann", 13)]


def test_each_batch_saves_its_places(url: str, broker: str) -> None:
    """So much as was sent, in each shard; a restart begins there and applies nothing again."""
    name = category(broker)
    order(url, name, *range(20))
    relayed(url, broker)
    projected(url, broker, totals(name))

    places = found(url, PLACES)
    assert [(topic, shard) for topic, shard, _ in places] == [(f"shop.{name}", 0), (f"shop.{name}", 1)]
    if broker.startswith("kafka"):
        assert sum(place[0] for _, _, place in places) == 20  # type: ignore[index]
    execute(url, "truncate eventkit.checkpoints")  # any redelivered message would be applied again
    projected(url, broker, totals(name))
    assert rows(url, COUNTED) == [("ann", 20)]


@pytest.mark.parametrize(("begin", "then"), [(Begin.AT_FIRST, 13), (Begin.NOW, 10)])
def test_handlers_with_effects_ask_where_to_begin_in_a_recreated_topic(
    url: str, redis: object, begin: Begin, then: int
) -> None:
    """Its place means nothing there; said once, it holds, and a read model needs no answer."""
    broker = str(redis.url)  # type: ignore[attr-defined]
    name = category(broker)
    send(broker, name, *range(10))
    projected(url, broker, acting(name))
    with client.Redis.from_url(broker) as session:
        session.delete(*session.keys(f"eventkit:*shop.{name}*"))
    transport = open_transport(broker)
    transport.create_topics([f"shop.{name}"], partitions=2)
    send(broker, name, *range(10, 13))

    with pytest.raises(PlaceGone, match=r"shard \d, up to .* --from-beginning, or with --from-now"):
        projected(url, broker, acting(name))
    assert rows(url, COUNTED) == [("ann", 10)]
    projected(url, broker, acting(name), begin=begin)
    assert rows(url, COUNTED) == [("ann", then)]

    send(broker, name, 13)
    projected(url, broker, acting(name))
    assert rows(url, COUNTED) == [("ann", then + 1)]


def test_a_read_model_begins_at_the_first_message_of_a_recreated_topic(url: str, redis: object) -> None:
    """Its checkpoints show the events that it has."""
    broker = str(redis.url)  # type: ignore[attr-defined]
    name = category(broker)
    order(url, name, *range(5))
    relayed(url, broker)
    projected(url, broker, totals(name))
    with client.Redis.from_url(broker) as session:
        session.delete(*session.keys(f"eventkit:*shop.{name}*"))
    open_transport(broker).create_topics([f"shop.{name}"], partitions=2)
    order(url, name, *range(5, 8))
    relayed(url, broker)

    projected(url, broker, totals(name))

    assert rows(url, COUNTED) == [("ann", 8)]


def test_a_place_that_a_hung_process_holds_is_saved_later_and_never_goes_back(url: str) -> None:
    """Nobody waits for it."""
    places = BrokerPlaces("eventkit")
    with psycopg.connect(url, autocommit=True) as ours, psycopg.connect(url) as hung:
        places.begin(ours, "p", [("t", 0, "id", (0,)), ("t", 1, "id", (0, 0))])
        assert places.save(hung, "p", [("t", 0, "id", (5,))]) == {("t", 0)}

        assert places.save(ours, "p", [("t", 0, "id", (9,)), ("t", 1, "id", (7, 1))]) == {("t", 1)}
        hung.commit()
        assert places.save(ours, "p", [("t", 0, "id", (9,)), ("t", 1, "id", (7, 0))]) == {("t", 0), ("t", 1)}
        assert places.known(ours, "p", ["t"]) == {("t", 0): ("id", (9,)), ("t", 1): ("id", (7, 1))}

        places.save(ours, "p", [("t", 0, "another", (3,))])
        assert places.known(ours, "p", ["t"])["t", 0] == ("another", (3,))


def expire(broker: str, name: str) -> None:
    """Let the broker delete all messages of a category's topic, as its retention does."""
    if broker.startswith("kafka"):
        admin = AdminClient({"bootstrap.servers": broker.removeprefix("kafka://"), "log_level": 0})
        whole = [TopicPartition(f"shop.{name}", shard, -1) for shard in (0, 1)]
        for done in admin.delete_records(whole).values():
            done.result(60)
        return
    with client.Redis.from_url(broker) as session:
        for shard in (0, 1):
            session.xtrim(stream_key(f"shop.{name}", shard), maxlen=0, approximate=False)


@pytest.mark.parametrize(("broker", "before"), [("redis", 0), ("kafka", 0), ("kafka", 10)], indirect=["broker"])
def test_a_read_model_takes_from_the_store_what_the_broker_deleted(url: str, broker: str, before: int) -> None:
    """Events that expired while no projector ran, in streams that never get another event.

    Redis trims behind every group; where another program trims further, the group's owner is told.
    """
    name = category(broker)
    order(url, name, *range(before))
    relayed(url, broker)
    if before:
        projected(url, broker, totals(name))
    order(url, name, *range(before, before + 10))
    relayed(url, broker)
    expire(broker, name)
    order(url, name, *range(before + 10, before + 15))
    relayed(url, broker)

    projected(url, broker, totals(name))

    assert rows(url, COUNTED) == [("ann", before + 15)]


def test_a_projector_that_ends_before_it_has_the_deleted_events_begins_again(
    url: str, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its places stay where they were until the store was read."""
    name = category(broker)
    order(url, name, *range(10))
    relayed(url, broker)
    expire(broker, name)
    order(url, name, *range(10, 13))
    relayed(url, broker)
    with monkeypatch.context() as patch:
        patch.setattr(Backfill, "run", lambda *_, **__: (_ for _ in ()).throw(DatabaseUnavailable("it went away")))
        with pytest.raises(DatabaseUnavailable, match="it went away"):
            projected(url, broker, totals(name))
    assert rows(url, COUNTED) == []

    projected(url, broker, totals(name))

    assert rows(url, COUNTED) == [("ann", 13)]
