"""One run of the workload: writers, relays, trouble for all of them, and the verdict over the whole topic."""

import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Consumer, TopicPartition

from eventkit.storage.outbox import change_part_count
from tests.faults.checker import Arrival, Verdict, judge, recorded
from tests.faults.trouble import Trouble
from tests.faults.workload import finish
from tests.relay.process import RelayProcess
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.waiting import wait_until

Kafka = KafkaServer | GivenKafka

PROCESSES = 4
DRAIN = 120.0  # seconds for the backlog at the end


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    verdict: Verdict
    trouble: Counter[str]
    seconds: float


@dataclass(frozen=True)
class Crew:
    """How many relay processes share how many parts."""

    relays: int = 2
    parts: int = 1


def run(url: str, kafka: Kafka, folder: Path, *, seconds: float, seed: int, crew: Crew = Crew()) -> Outcome:
    """Write under fire for so many seconds, let the relays finish, and judge the topic."""
    started = time.monotonic()
    catalog = f"faults{uuid.uuid4().hex[:8]}"
    topic = f"{catalog}.order"
    kafka.create_topic(topic)
    relays = [RelayProcess(url, kafka.url, folder / f"relay{number}.log") for number in range(crew.relays)]
    with psycopg.connect(url, autocommit=True) as connection:
        change_part_count(connection, "eventkit", crew.parts, actor="faults")
    try:
        for relay in relays:
            relay.start()
        with Trouble(url, relays, seed) as trouble:
            _write(url, catalog, seconds=seconds, seed=seed)
        _wait_for_the_relays(url)
    finally:
        for relay in relays:
            relay.kill()
    with psycopg.connect(url) as connection:
        verdict = judge(arrivals(kafka, topic), recorded(connection))
    kafka.delete_topic(topic)
    return Outcome(verdict, trouble.counts, time.monotonic() - started)


def _write(url: str, catalog: str, *, seconds: float, seed: int) -> None:
    command = [sys.executable, "-m", "tests.faults.workload", url, catalog, str(seconds)]
    writers = [subprocess.Popen([*command, str(seed * PROCESSES + number)]) for number in range(PROCESSES)]
    try:
        codes = [writer.wait(seconds + 60) for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
        finish(url)
    assert codes == [0] * PROCESSES, "a writer failed, see its traceback above"


def _wait_for_the_relays(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        wait_until(
            lambda: connection.execute("select not exists (select from eventkit.outbox)").fetchone() == (True,),
            timeout=DRAIN,
            what="an empty outbox",
        )


def arrivals(kafka: Kafka, topic: str) -> Iterator[Arrival]:
    """Read a topic from its beginning to its end, partition by partition."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "judge", "enable.auto.commit": False})
    try:
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            consumer.assign([TopicPartition(topic, partition, 0)])
            at = 0
            while at < end:
                for message in consumer.consume(5_000, 0.2):
                    assert message.error() is None, message.error()
                    at = (message.offset() or 0) + 1
                    yield _arrival(message.key() or b"", dict(message.headers() or {}))
    finally:
        consumer.close()


def _arrival(key: bytes, headers: dict[str, Any]) -> Arrival:
    return Arrival(key.decode(), int(headers["ce_streamversion"]), headers["ce_id"].decode())
