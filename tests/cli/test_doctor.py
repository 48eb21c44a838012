"""`eventkit doctor`: it names risks of losing or stalling events, and its exit code tells whether there are any."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import psycopg

from eventkit import Catalog, EventStore
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.servers.redis import RedisServer


@dataclass(frozen=True)
class OrderPlaced:
    """A customer ordered something."""

    customer: str


def doctor(database_url: str, transport_url: str, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Run it with --json and return its exit code and findings."""
    urls = {"EVENTKIT_DATABASE_URL": database_url, "EVENTKIT_TRANSPORT_URL": transport_url}
    done = subprocess.run(
        [sys.executable, "-m", "eventkit.cli", "doctor", "--json", *arguments],
        env={**os.environ, **urls},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout)["findings"]


def started(database_url: str, transport_url: str, topic: str) -> list[subprocess.CompletedProcess[str]]:
    """Start a relay and a projector that must end at once."""
    urls = {"EVENTKIT_DATABASE_URL": database_url, "EVENTKIT_TRANSPORT_URL": transport_url}
    commands = ["relay", "run"], ["projector", "run", "examples.quickstart:totals", "--topic", topic]
    return [
        subprocess.run(
            [sys.executable, "-m", "eventkit.cli", *words],
            env={**os.environ, **urls},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        for words in commands
    ]


def test_a_sound_set_up_has_no_complaint(database_url: str, redis: RedisServer) -> None:
    """A migrated database and a durable broker: exit code 0."""
    code, found = doctor(database_url, redis.url)

    assert code == 0
    assert {"database", "appendonly", "appendfsync", "maxmemory-policy", "broker"} <= {
        each["setting"] for each in found
    }


def test_a_broker_that_loses_messages_is_named_with_the_reason(database_url: str) -> None:
    """Exit code 1, and a sentence that says why."""
    server = RedisServer(appendonly="no").start()
    try:
        code, found = doctor(database_url, server.url)
    finally:
        server.stop()

    assert code == 1
    assert any("append-only file" in each["reason"] for each in found if not each["safe"])


def test_no_process_starts_on_a_broker_that_loses_messages(database_url: str) -> None:
    """A relay and a projector end at once, with the reason."""
    server = RedisServer(appendfsync="everysec").start()
    try:
        done = started(database_url, server.url, "shop.order")
    finally:
        server.stop()

    assert [each.returncode for each in done] == [2, 2], [each.stderr for each in done]
    assert all("appendfsync=everysec" in each.stderr for each in done)


def test_no_process_starts_on_a_topic_that_takes_too_little(
    database_url: str, kafka: KafkaServer | GivenKafka, kafka_topic: str
) -> None:
    """A relay knows its topics by its backlog, a projector by its categories; a smaller limit may be requested."""
    kafka.alter_topic(kafka_topic, max_message_bytes=20_000)
    with psycopg.connect(database_url) as connection:
        catalog = Catalog("shop", topics={"order": kafka_topic})
        catalog.event(OrderPlaced)
        EventStore(catalog).append(connection, "order-1", OrderPlaced("ada"))

    done = started(database_url, kafka.url, kafka_topic)
    code, _ = doctor(database_url, f"{kafka.url}?largest_event=10000&replicas=1", kafka_topic)

    assert [each.returncode for each in done] == [2, 2], [each.stderr for each in done]
    assert all(f"{kafka_topic}: max.message.bytes is 20000" in each.stderr for each in done)
    assert code == 0


def test_a_compacted_topic_is_named(database_url: str, kafka: KafkaServer | GivenKafka, kafka_topic: str) -> None:
    """Compaction keeps the last event of a stream only."""
    compacted = f"{kafka_topic}.compacted"
    kafka.create_topic(compacted, cleanup_policy="compact")

    code, found = doctor(database_url, f"{kafka.url}?replicas=1", kafka_topic, compacted)

    assert code == 1
    assert [each["setting"] for each in found if not each["safe"]] == [f"{compacted}: cleanup.policy"]


def test_events_that_one_broker_has_alone_are_named_and_a_process_starts(
    database_url: str, kafka: KafkaServer | GivenKafka, kafka_topic: str
) -> None:
    """The doctor does not let it pass unless it is accepted; a relay says it and works, as on a developer's machine."""
    code, found = doctor(database_url, kafka.url, kafka_topic)
    accepted, _ = doctor(database_url, f"{kafka.url}?replicas=1", kafka_topic)
    command = [sys.executable, "-m", "eventkit.cli", "projector", "run", "examples.quickstart:totals"]
    projector = subprocess.run(
        [*command, "--topic", kafka_topic, "--until-idle", "0.5"],
        env={**os.environ, "EVENTKIT_DATABASE_URL": database_url, "EVENTKIT_TRANSPORT_URL": kafka.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    settings = [f"{kafka_topic}: replication.factor", f"{kafka_topic}: min.insync.replicas"]
    assert (code, accepted) == (1, 0)
    assert [each["setting"] for each in found if not each["safe"]] == settings
    assert all(setting in projector.stderr for setting in settings)
    assert "this broker would lose" not in projector.stderr


def test_the_time_that_kafka_remembers_a_stopped_group_is_reported(
    database_url: str, kafka: KafkaServer | GivenKafka
) -> None:
    """An inbox that is pruned earlier lets commands be handled twice."""
    _, found = doctor(database_url, kafka.url)

    assert [each["found"] for each in found if each["setting"] == "offsets.retention.minutes"] == ["10080"]


def test_a_database_without_tables_is_named(empty_database_url: str, redis: RedisServer) -> None:
    """A missing table is a finding like the others, not a crash."""
    code, found = doctor(empty_database_url, redis.url)

    assert code == 1
    assert next(each for each in found if each["setting"] == "database")["safe"] is False
