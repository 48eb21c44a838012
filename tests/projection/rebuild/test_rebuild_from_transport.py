"""A read model is rebuilt from the transport's topics, up to the live one, for any content of the store."""

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import TopicPartition

from eventkit.config import Settings
from eventkit.domain.message import Message
from eventkit.errors import RebuildRefused
from eventkit.projection.rebuild import from_transport as listening
from eventkit.projection.rebuild.rebuild import RebuildOutcome, RebuildPlan, RebuildRun
from eventkit.projection.run.sources import TransportSource
from eventkit.transports import open_transport
from tests.projection.rebuild.test_rebuild_crash_points import ROOT, _die
from tests.projection.recorded import record
from tests.projection.run.test_running import MODELS, environment, publish
from tests.projection.shop import apply, checkpoints, orders, projector, rows, totals
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.waiting import wait_until

TOPIC = "shop.order"


@pytest.fixture
def local() -> str:
    """A transport of this process, with a topic."""
    url = f"local://{uuid.uuid4().hex}"
    open_transport(url).create_topics([TOPIC], partitions=3)
    return url


def send(url: str, messages: list[Message]) -> None:
    """Publish messages, in order."""
    open_transport(url).publisher().send(messages)


def rebuild(url: str, transport: str, *, topic: str = TOPIC, **plan: object) -> RebuildOutcome:
    """Rebuild from the transport."""
    settings = Settings(database_url=url, transport_url=transport)
    return RebuildRun(totals(), settings, RebuildPlan(from_transport=True, topics=(topic,), **plan)).run()  # type: ignore[arg-type]


def many(count: int, *, first: int = 1) -> list[Message]:
    """Return so many orders of each of thirty streams."""
    return [event for number in range(30) for event in orders(f"order-{number}", count, first=first)]


@pytest.fixture
def topic(kafka: KafkaServer | GivenKafka) -> Iterator[str]:
    """A topic of Kafka with one partition, so that a test knows its offsets."""
    name = f"shop.{uuid.uuid4().hex[:8]}"
    kafka.create_topic(name, partitions=1)
    yield name
    kafka.delete_topic(name)


def test_a_read_model_is_rebuilt_from_kafka_without_a_store(
    url: str, kafka: KafkaServer | GivenKafka, topic: str
) -> None:
    """The topics have all that another service has ever sent; nothing of the rebuild is left at the broker."""
    publish(kafka, topic, many(20))
    apply(url, many(15))
    options = ("--from", "transport", "--topic", topic)
    done = subprocess.run(
        [sys.executable, "-m", "eventkit.cli", "projection", "rebuild", f"{MODELS}:totals", *options],
        env=environment(url, EVENTKIT_TRANSPORT_URL=f"kafka://{kafka.bootstrap}"),
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "totals: 600 events in" in done.stdout
    assert (rows(url), len(checkpoints(url))) == ([("ann", 600, 600)], 30)
    assert [group for group in kafka.groups() if "-rebuild-" in group] == []


def test_topics_without_their_beginning_are_refused_unless_the_store_has_it(
    url: str, kafka: KafkaServer | GivenKafka, topic: str
) -> None:
    """Retention has taken a stream's first events: a read model without them would be wrong."""
    publish(kafka, topic, orders("order-1", 10))
    apply(url, orders("order-1", 10))
    admin = kafka.admin()
    for future in admin.delete_records([TopicPartition(topic, 0, 4)]).values():
        future.result(60)

    with pytest.raises(RebuildRefused, match=r"as of order-1: the topics' beginning is no longer there"):
        rebuild(url, f"kafka://{kafka.bootstrap}", topic=topic)
    assert rows(url) == [("ann", 10, 10)]
    record(url, orders("order-1", 10))

    assert rebuild(url, f"kafka://{kafka.bootstrap}", topic=topic).events == 10
    assert rows(url) == [("ann", 10, 10)]


def test_a_stream_that_is_gone_from_the_transport_is_refused(
    url: str, local: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing more comes, and the live read model has more: reported, with the remedy."""
    monkeypatch.setattr(listening, "SILENCE_LIMIT", 0.5)
    send(local, orders("order-1", 3))
    apply(url, orders("order-1", 3), orders("order-2", 2, customer="bob"))
    monkeypatch.setattr("eventkit.projection.rebuild.rebuild.SWAP_BACKLOG", 0)

    with pytest.raises(RebuildRefused, match=r"has not brought 2 events that .* \(retention\).*from the store"):
        rebuild(url, local)

    assert rows(url) == [("ann", 3, 3), ("bob", 2, 2)]


def test_events_missing_at_a_swap_come_from_the_transport_where_the_store_has_none(
    url: str, local: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the lock it waits for the events of the live read model, and for no later ones."""
    send(local, orders("order-1", 3))
    apply(url, orders("order-1", 3))
    real = RebuildRun._swap

    def late(*given: object) -> object:
        apply(url, orders("order-1", 2, first=4))
        send(local, orders("order-1", 4, first=4))
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(RebuildRun, "_swap", late)
    done = rebuild(url, local)

    assert (done.events, done.caught_up, rows(url)) == (5, 2, [("ann", 5, 5)])


def test_a_rebuild_from_the_transport_is_the_fold_while_events_keep_coming(url: str, local: str) -> None:
    """A projector follows its own group meanwhile; its events at the swap are in, and it continues behind them."""
    send(local, many(10))
    apply(url, many(1))
    with _following(url, local), _sending(local, rounds=60):
        for _ in range(3):
            rebuild(url, local)
        wait_until(lambda: rows(url) == [("ann", 2_100, 2_100)], timeout=60)

    assert set(checkpoints(url).values()) == {(70, False)}


@contextmanager
def _following(url: str, local: str) -> Iterator[None]:
    over = threading.Event()

    def follow() -> None:
        with projector(url) as running:
            source = TransportSource(open_transport(local).subscribe([TOPIC], "totals"))
            running.run(source, keep_running=lambda: not over.is_set())
            source.close()

    thread = threading.Thread(target=follow)
    thread.start()
    yield
    over.set()
    thread.join(60)


@contextmanager
def _sending(local: str, *, rounds: int) -> Iterator[None]:
    pause = threading.Event()

    def go_on() -> None:
        for number in range(rounds):
            send(local, many(1, first=11 + number))
            pause.wait(0.02)

    thread = threading.Thread(target=go_on)
    thread.start()
    yield
    thread.join(60)


def test_a_broker_without_history_is_refused(url: str) -> None:
    """Its groups find nothing of before."""
    apply(url, orders("order-1", 1))

    with pytest.raises(RebuildRefused, match="keeps no history"):
        rebuild(url, "rabbitmq://localhost:1")


def test_a_projection_that_has_applied_nothing_is_refused(url: str, local: str) -> None:
    """Nothing says how far to read, and its projector begins at the earliest message by itself."""
    send(local, orders("order-1", 3))

    with pytest.raises(RebuildRefused, match="has applied nothing yet"):
        rebuild(url, local)


@pytest.mark.parametrize("resume", [False, True])
def test_applied_from_the_transport_not_acknowledged(
    url: str, kafka: KafkaServer | GivenKafka, topic: str, *, resume: bool
) -> None:
    """Killed there, the next rebuild ends right: redelivered events are duplicates, or the rebuild starts again."""
    publish(kafka, topic, many(20))
    apply(url, many(20))
    transport = f"kafka://{kafka.bootstrap}"
    words = [sys.executable, "-m", "tests.projection.rebuild.test_rebuild_from_transport", url, transport, topic]

    assert subprocess.run(words, cwd=ROOT, check=False, timeout=60).returncode == -9
    assert rows(url) == [("ann", 600, 600)]
    rebuild(url, transport, topic=topic, resume=resume)

    assert rows(url) == [("ann", 600, 600)]
    assert set(checkpoints(url).values()) == {(20, False)}


def _child(url: str, transport: str, topic: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransportSource, "acknowledge", _die)
        rebuild(url, transport, topic=topic)


if __name__ == "__main__":
    _child(*sys.argv[1:])
