"""The relay process on a real PostgreSQL and a real Apache Kafka.

Committed events arrive, in order, in any circumstances.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.relay.conftest import Topic, append, read_along
from tests.relay.process import RelayProcess
from tests.servers.kafka import KafkaServer
from tests.waiting import wait_until

Writer = psycopg.Connection[Any]


@contextmanager
def paused(kafka: KafkaServer) -> Iterator[None]:
    """Stop the broker's process for a while."""
    kafka.pause()
    try:
        yield
    finally:
        kafka.resume()


def test_committed_events_arrive_and_rolled_back_ones_do_not(
    writer: Writer, topic: Topic, relay: RelayProcess, outbox: Callable[[], int]
) -> None:
    """Atomic: published if and only if committed; then nothing is left in the outbox."""
    append(writer, "order-1", topic=topic.name)
    writer.rollback()
    append(writer, "order-2", topic=topic.name)
    append(writer, "order-2", topic=topic.name)
    writer.commit()

    assert topic.has(2) == [("order-2", 1), ("order-2", 2)]
    wait_until(lambda: outbox() == 0, what="an empty outbox")
    relay.says("holding relay 0/1, epoch 1")


def test_an_open_transaction_delays_only_its_own_events(
    writer: Writer, database_url: str, topic: Topic, relay: RelayProcess
) -> None:
    """No stall: later positions go out at once, the late commit follows."""
    with psycopg.connect(database_url) as slow:
        append(slow, "order-slow", topic=topic.name)
        append(writer, "order-quick", topic=topic.name)
        writer.commit()

        assert topic.has(1) == [("order-quick", 1)]

    assert topic.has(2) == [("order-quick", 1), ("order-slow", 1)]
    assert relay.log().count("were skipped") == 0


def test_the_first_signal_finishes_the_messages_in_flight(
    writer: Writer, topic: Topic, relay: RelayProcess, outbox: Callable[[], int]
) -> None:
    """A clean end exits with 0 and leaves nothing sent but unsettled."""
    for number in range(300):
        append(writer, f"order-{number % 7}", topic=topic.name)
    writer.commit()
    topic.has(1)

    relay.signal(signal.SIGTERM)

    assert relay.wait() == 0
    assert len(set(topic.arrived)) + outbox() <= 300
    with relay:
        topic.has(300)
    assert len(topic.arrived) == 300


def test_the_second_signal_ends_it_at_once(
    writer: Writer, kafka: KafkaServer, topic: Topic, relay: RelayProcess
) -> None:
    """A hanging server does not delay the second signal: the first alone would end it with 0."""
    relay.says("holding")
    with paused(kafka):
        append(writer, "order-1", topic=topic.name)
        writer.commit()
        relay.signal(signal.SIGINT)
        relay.says("once more to end at once")

        relay.signal(signal.SIGINT)

        assert relay.wait() == 128 + signal.SIGINT


def test_only_the_stream_of_a_refused_event_is_parked(
    writer: Writer, topic: Topic, relay: RelayProcess, outbox: Callable[[], int]
) -> None:
    """An event that the broker refuses parks its own stream with the reason; the others are sent, in order."""
    relay.says("holding")
    for number in range(60):
        text = "x" * 1_200_000 if number == 30 else ""
        append(writer, f"order-{number % 6}", text=text, topic=topic.name)
    writer.commit()

    arrived = topic.has(55)

    assert [version for stream, version in dict.fromkeys(arrived) if stream == "order-0"] == [1, 2, 3, 4, 5]
    for stream in ("order-1", "order-2", "order-3", "order-4", "order-5"):
        assert [version for name, version in dict.fromkeys(arrived) if name == stream] == list(range(1, 11))
    row = wait_until(lambda: _parked(writer), what="a dead letter")
    assert row is not None
    assert row[:3] == ("order-0", 6, "refused")
    wait_until(lambda: outbox() == 5, what="the parked stream's five events in the outbox")


def test_a_redriven_stream_goes_out_in_order(writer: Writer, topic: Topic, relay: RelayProcess) -> None:
    """When the cause is repaired and the dead letter is gone, the relay sends the waiting events."""
    relay.says("holding")
    append(writer, "order-0", topic=topic.name, text="x" * 1_200_000)
    append(writer, "order-0", topic=topic.name)
    writer.commit()
    wait_until(lambda: _parked(writer), what="a dead letter", timeout=60)
    writer.execute("alter table eventkit.events disable trigger user")
    writer.execute("update eventkit.events set data = '{}' where version = 1")
    writer.execute("delete from eventkit.dead_letters")
    writer.commit()

    assert topic.has(2) == [("order-0", 1), ("order-0", 2)]


def test_a_missing_topic_is_held_and_the_others_are_sent(
    writer: Writer, kafka: KafkaServer, topic: Topic, relay: RelayProcess
) -> None:
    """A topic that does not exist parks nobody: its events wait in the outbox until it is there."""
    missing = f"{topic.name}.missing"
    append(writer, "cart-1", topic=missing)
    append(writer, "order-1", topic=topic.name)
    writer.commit()

    assert topic.has(1, timeout=60) == [("order-1", 1)]
    relay.says(f"topic {missing} is held", timeout=60)
    assert _parked(writer) is None
    kafka.create_topic(missing)
    with read_along(kafka.url, missing) as late:
        assert late.has(1, timeout=60) == [("cart-1", 1)]


def test_a_standby_takes_over_when_the_leader_is_killed(
    writer: Writer, database_url: str, kafka: KafkaServer, topic: Topic, relay: RelayProcess, tmp_path: Path
) -> None:
    """Two relays, one leads; kill it with -9 and the other takes over by itself."""
    relay.says("holding")
    with RelayProcess(database_url, kafka.url, tmp_path / "standby.log") as standby:
        standby.says("standing by")
        relay.kill()
        append(writer, "order-1", topic=topic.name)
        writer.commit()

        assert topic.has(1) == [("order-1", 1)]
        standby.says("holding relay 0/1, epoch 2")


def _parked(writer: Writer) -> tuple[Any, ...] | None:
    row = writer.execute("select stream, version, cause, error from eventkit.dead_letters").fetchone()
    writer.rollback()
    return row
