"""Relay to Debezium and back while writers run, with a kill -9 of Connect, judged by a reader without eventkit."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Received
from sqlalchemy import create_engine, make_url

from eventkit.domain.message import Message
from eventkit.domain.metadata import Metadata
from eventkit.storage.debezium import heartbeat_topic
from eventkit.storage.outbox import AMENDED, AS_TEXT, message
from tests.debezium.read_models import linked, metadata
from tests.faults.checker import Arrival, Verdict, judge, recorded
from tests.faults.shop import TOPIC, Noted, order, store
from tests.process import EventkitProcess
from tests.servers.connect import ConnectServer
from tests.servers.kafka import KafkaServer
from tests.waiting import wait_until

Sent = tuple[str, Any, list[tuple[str, Any]]]
"""A message's key, value and headers in order of name."""

PARTITIONS = 6
_PATIENCE = 600.0  # seconds
_ROLLED_BACK = 0.1
_CHAINS = "select stream, version, chain from chains"
_EVENTS = "select stream, id::text from eventkit.events order by stream, version"
_ALL = f"select position, '{TOPIC}', {AS_TEXT} from eventkit.events e {AMENDED}".format(s="eventkit")


class Writers:
    """Threads that append to shared streams, with and without metadata; one transaction in ten is rolled back."""

    def __init__(self, url: str, *, count: int, streams: int, pause: float, size: int = 3) -> None:
        self._url, self._streams, self._pause, self._size = url, streams, pause, size
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._written = [0] * count
        self._threads = [threading.Thread(target=self._write, args=(each,), daemon=True) for each in range(count)]

    @property
    def written(self) -> int:
        """The number of committed events."""
        if self._errors:
            raise self._errors[0]
        return sum(self._written)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write until the end of the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def wait_for(self, count: int) -> None:
        """Wait until so many more events are committed."""
        goal = self.written + count
        wait_until(lambda: self.written >= goal, timeout=_PATIENCE, what=f"{goal} events")

    def _write(self, nth: int) -> None:
        chance = random.Random(nth)
        try:
            with psycopg.connect(self._url) as connection:
                while not self._stop.wait(self._pause):
                    self._written[nth] += self._transaction(connection, chance)
        except BaseException as error:  # noqa: BLE001 raised by `written`
            self._errors.append(error)

    def _transaction(self, connection: psycopg.Connection[Any], chance: random.Random) -> int:
        events = [Noted(number, "ü" * chance.randrange(50)) for number in range(chance.randint(1, self._size))]
        store.append(connection, order(chance.randrange(self._streams)), *events, metadata=_about(chance))
        if chance.random() < _ROLLED_BACK:
            connection.rollback()
            return 0
        connection.commit()
        return len(events)


def _about(chance: random.Random) -> Metadata | None:
    """Return metadata of any form: what is missing must be no header."""
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    return chance.choice([
        None,
        None,
        Metadata(correlation_id="c-1"),
        Metadata(correlation_id="c-2", causation_id="k-2", traceparent=trace, tracestate="vendor=1"),
        Metadata(causation_id="k-3", traceparent=trace),
        Metadata(correlation_id="c-4", extra={"user": 'Ada "L" ü', "deep": {"b": [1, None, "x"], "a": 1.5}}),
    ])  # fmt: skip


@dataclass
class Outcome:
    """The counts of a campaign."""

    verdict: Verdict
    by_mode: dict[str, int] = field(default_factory=dict)  # events that were written while a mode lasted
    different: int = 0  # messages that are not those of the relay
    chains: int = 0  # rows of the read model
    wrong_chains: int = 0
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return self.verdict.clean and not self.different and not self.wrong_chains


def connector(url: str, kafka: KafkaServer) -> dict[str, Any]:
    """Return the connector of a database, and create the topic of its heartbeats."""
    command = [sys.executable, "-m", "eventkit.cli", "debezium", "config"]
    given = {**os.environ, "EVENTKIT_DATABASE_URL": url}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=given)
    found: dict[str, Any] = json.loads(done.stdout)
    kafka.create_topic(heartbeat_topic(found["config"]["topic.prefix"]), 1)
    return found


class HandOver:
    """One campaign, on a database that is reached by TCP, a Kafka, and a Connect that is not started yet."""

    def __init__(self, url: str, kafka: KafkaServer, connect: ConnectServer, folder: Path) -> None:
        self._url, self._kafka, self._connect, self._folder = url, kafka, connect, folder
        self._processes = 0

    def run(self, writers: Writers, *, step: int) -> Outcome:
        """Write `step` events in each of six steps, with both switches and the kill between them."""
        began, counts = time.monotonic(), Counter[str]()
        self._kafka.create_topic(TOPIC, PARTITIONS)
        engine = create_engine(make_url(self._url).set(drivername="postgresql+psycopg"))
        metadata.create_all(engine)
        engine.dispose()
        with ExitStack() as stack:
            stack.enter_context(self._process("relay", "run"))
            stack.enter_context(self._process("projector", "run", "tests.debezium.read_models:chains"))
            with writers.running():
                self._count(counts, writers, "relay", step)
                self._to_debezium(stack, writers, counts, step)
                self._kill(writers, counts, step)
                self._to_relay(stack, writers, counts, step)
                self._count(counts, writers, "relay", step)
            wait_until(self._is_through, timeout=_PATIENCE, what="an empty outbox and a whole read model")
        outcome = self._judged()
        outcome.by_mode, outcome.seconds = dict(counts), time.monotonic() - began
        return outcome

    def _count(self, counts: Counter[str], writers: Writers, mode: str, step: int) -> None:
        before = writers.written
        writers.wait_for(step)
        counts[mode] += writers.written - before

    def _to_debezium(self, stack: ExitStack, writers: Writers, counts: Counter[str], step: int) -> None:
        """The connector is there before its time, and a transaction that began before the switch ends late."""
        wanted = connector(self._url, self._kafka)
        self._connect.create(wanted)
        stack.callback(self._connect.delete, wanted["name"])
        late = stack.enter_context(psycopg.connect(self._url))
        store.append(late, order("late"), Noted(1))
        switch = stack.enter_context(self._process("db", "mode", "debezium"))
        switch.says("must end first", timeout=_PATIENCE)
        self._count(counts, writers, "to debezium", step)
        switch.kill()  # at any moment, and again
        store.append(late, order("late"), Noted(2))
        late.commit()
        store.append(late, order("late"), Noted(3))
        late.commit()
        again = stack.enter_context(self._process("db", "mode", "debezium"))
        assert again.wait(_PATIENCE) == 0, again.log()
        self._count(counts, writers, "debezium", step)

    def _kill(self, writers: Writers, counts: Counter[str], step: int) -> None:
        self._connect.kill()
        self._count(counts, writers, "debezium, Connect killed", step)
        self._connect.begin()

    def _to_relay(self, stack: ExitStack, writers: Writers, counts: Counter[str], step: int) -> None:
        """Turned back once on the way."""
        switch = stack.enter_context(self._process("db", "mode", "relay"))
        self._count(counts, writers, "to relay", step // 2)
        switch.kill()
        forth = stack.enter_context(self._process("db", "mode", "debezium"))
        assert forth.wait(_PATIENCE) == 0, forth.log()
        self._count(counts, writers, "debezium", step // 2)
        back = stack.enter_context(self._process("db", "mode", "relay"))
        assert back.wait(_PATIENCE) == 0, back.log()

    def _process(self, *words: str) -> EventkitProcess:
        self._processes += 1
        log = self._folder / f"{self._processes}-{'-'.join(words[:2])}.log"
        return EventkitProcess(self._url, self._kafka.url, log, *words)

    def _is_through(self) -> bool:
        with psycopg.connect(self._url) as connection:
            left = connection.execute("select exists (select from eventkit.outbox)").fetchone()
            behind = connection.execute(
                "select exists (select from eventkit.streams s left join chains c using (stream) "
                "where s.version is distinct from c.version)"
            ).fetchone()
        return left == (False,) and behind == (False,)

    def _judged(self) -> Outcome:
        with psycopg.connect(self._url) as connection:
            connection.execute("set timezone = 'UTC'")
            wanted = {row[4]: _sent(message(row)) for row in connection.execute(_ALL.encode())}
            outcome = Outcome(Verdict(0, 0, 0, 0, 0))
            arrivals = []
            for found in received(self._kafka, TOPIC, PARTITIONS):
                headers = dict(found[2])
                arrivals.append(Arrival(found[0], int(headers["ce_streamversion"]), headers["ce_id"]))
                outcome.different += found != wanted[headers["ce_id"]]
            outcome.verdict = judge(arrivals, recorded(connection))
            chains = dict[str, str]()
            for stream, event_id in connection.execute(_EVENTS):
                chains[stream] = linked(chains.get(stream, ""), event_id)
            rows = connection.execute(_CHAINS).fetchall()
            outcome.chains = len(rows)
            outcome.wrong_chains = sum(chains.get(stream) != chain for stream, _, chain in rows)
            outcome.wrong_chains += len(chains.keys() - {stream for stream, *_ in rows})
        return outcome


def received(kafka: KafkaServer, topic: str, partitions: int) -> Iterator[Sent]:
    """Return everything in a topic: key, value and headers, in order within each partition."""
    config = {"bootstrap.servers": kafka.bootstrap, "group.id": "foreign", "enable.auto.commit": False}
    consumer = Consumer({**config, "enable.partition.eof": True})
    left = set(range(partitions))
    consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in left])
    while left:
        found = consumer.poll(30)
        assert found is not None, f"the end of partitions {left} was not reached within 30 s"
        error = found.error()
        if error is None:
            yield _received(found)
        elif error.code() == KafkaError._PARTITION_EOF:
            left.discard(found.partition() or 0)
        else:
            raise KafkaException(error)
    consumer.close()


def _sent(wanted: Message) -> Sent:
    return wanted.key, wanted.value, sorted(wanted.headers)


def _received(found: Received) -> Sent:
    key, value, headers = (_texts(each) for each in (found.key(), found.value(), found.headers()))
    return key, value, sorted(headers)


def _texts(found: Any) -> Any:  # noqa: ANN401 a list's elements are pairs
    return found.decode() if isinstance(found, bytes) else [(name, value.decode()) for name, value in found]
