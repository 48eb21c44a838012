"""How fast the relay drains a backlog to Kafka, beside reading it and producing it bare, in alternating rounds.

The limit on shared cores is reading and producing one after the other with nothing lost between:
1 / (1/raw read + 1/raw produce), both of the same round.
"""

import subprocess
import sys
from functools import partial
from statistics import median
from typing import Any

import click
import msgspec
from confluent_kafka import Consumer, TopicPartition
from rich.progress import track

from benchmarks import schema_names
from benchmarks.backlog import PARTITIONS, TOPIC, Backlog
from benchmarks.draining import drained
from benchmarks.given import Given, given, machine
from benchmarks.measure import Rounds, Sample, last_line, show
from benchmarks.plot import bars
from benchmarks.servers import Kafka

RELAY, READ, PRODUCE, LIMIT = "relay", "raw read", "raw produce", "limit"
OBSERVED = "relay, observed"
NOTES = """\
relay: `eventkit relay run`, from the moment its lease is taken to the empty outbox: connecting its reader and its cold
  producer, reading, publishing, settling; not the start of the process
raw read: the same columns of the same rows, 10,000 a statement, in one process
raw produce: the relay's keys, values and headers, made before the clock starts; acks=all, idempotent, warm, a report
  for each
limit = 1 / (1/raw read + 1/raw produce) of the same round; CPU seconds of the measured time, of that process alone
relay, observed: with --serve, asked for metrics, readiness and liveness every five seconds"""
_RAW = f"{TOPIC}.raw"


class RelayRun:
    """Rounds over one database and one broker."""

    def __init__(self, database_url: str, kafka: Kafka, backlog: Backlog) -> None:
        """Make the topics."""
        self._database_url = database_url
        self._kafka = kafka
        self._backlog = backlog
        self._sent = 0
        self.rounds = Rounds()
        self.settled_all = True
        for topic in (TOPIC, _RAW):
            kafka.create_topic(topic, PARTITIONS)

    def round(self) -> None:
        """Let every contestant run once."""
        self._backlog.fill()
        self.rounds.add(READ, self._raw("read"))
        self.rounds.add(PRODUCE, self._raw("produce", self._kafka.bootstrap, _RAW))
        self.rounds.add(RELAY, self._drain())
        self.settled_all = self.settled_all and self._in_topic() >= self._sent

    def observed_round(self, *, observed_first: bool) -> None:
        """Let the relay drain twice, once observed."""
        for observed in (observed_first, not observed_first):
            self._backlog.fill()
            self.rounds.add(OBSERVED if observed else RELAY, self._drain(observed=observed))

    def limits(self) -> list[float]:
        """Return the limit of each round."""
        return [
            1 / (1 / read + 1 / produce)
            for read, produce in zip(self.rounds.rates(READ), self.rounds.rates(PRODUCE), strict=True)
        ]

    def ratio(self, contestant: str) -> float:
        """Return the median ratio of a contestant to the limit of its round."""
        return median(rate / limit for rate, limit in zip(self.rounds.rates(contestant), self.limits(), strict=True))

    def figures(self) -> dict[str, Any]:
        """Return the figures for `--json`."""
        return {
            "relay_events_per_second": self.rounds.rate(RELAY),
            "raw_produce_events_per_second": self.rounds.rate(PRODUCE),
            "raw_read_events_per_second": self.rounds.rate(READ),
            "ratio_to_limit": self.ratio(RELAY),
            "settled_all": self.settled_all,
        }

    def _drain(self, *, observed: bool = False) -> Sample:
        sample = drained(self._database_url, self._kafka.bootstrap, self._backlog, observed=observed)
        self._sent += self._backlog.events
        return sample

    def _raw(self, name: str, *arguments: str) -> Sample:
        command = [sys.executable, "-m", "benchmarks.raw", name, self._database_url, *arguments]
        done = subprocess.run(command, check=True, capture_output=True)
        return msgspec.json.decode(done.stdout, type=Sample)

    def _in_topic(self) -> int:
        consumer = Consumer({"bootstrap.servers": self._kafka.bootstrap, "group.id": "bench"})
        try:
            ends = [consumer.get_watermark_offsets(TopicPartition(TOPIC, number)) for number in range(PARTITIONS)]
            return sum(high - low for low, high in ends)
        finally:
            consumer.close()


@click.command("relay")
@given()
@click.option("--events", type=click.IntRange(1), default=300_000, show_default=True)
@click.option("--streams", type=click.IntRange(1), default=1_000, show_default=True)
@click.option("--size", type=click.IntRange(1), default=200, show_default=True, help="Bytes of an event's data.")
@click.option("--observed", is_flag=True, help="Compare the relay with itself, served and asked, in turns.")
@click.option("--schema-names", "names", is_flag=True, help="Compare each `schema_id`, for the relay and a reader.")
def command(shared: Given, *, events: int, streams: int, size: int, observed: bool, names: bool) -> None:
    """Drain a backlog to Kafka."""
    if names:
        _compare_schema_names(shared, events=events, streams=streams, size=size)
        return
    with shared.database() as (url, version), shared.broker() as kafka:
        backlog = Backlog(url, events=events, streams=streams, size=size)
        run = RelayRun(url, kafka, backlog)
        for number in track(range(shared.rounds), "rounds", console=shared.console):
            if observed:
                run.observed_round(observed_first=bool(number % 2))
            else:
                run.round()
        backlog.close()
        title = f"drain of {backlog.events:,} events to {kafka.version}, PostgreSQL {version}, {machine()}"
        ratio = partial(run.rounds.ratio, other=RELAY) if observed else run.ratio
        show(run.rounds.table(title, "of relay" if observed else "of limit", ratio), shared.console, NOTES)
    if observed:
        last_line({"observed_ratio": run.rounds.ratio(OBSERVED, RELAY), "rounds": run.rounds.all_rates()})
        return
    if shared.plot:
        bars(shared.plot, title, {"": {**run.rounds.all_rates(), LIMIT: run.limits()}}, pale={READ, PRODUCE, LIMIT})
    if shared.as_json:
        last_line(run.figures())


def _compare_schema_names(shared: Given, **backlog: int) -> None:
    with shared.database() as (url, version), shared.broker() as kafka, schema_names.registry() as registry:
        run = schema_names.SchemaNamesRun(url, kafka, registry, **backlog)
        for _ in track(range(shared.rounds), "rounds", console=shared.console):
            run.round()
        title = f"drain of {backlog['events']:,} events to {kafka.version}, PostgreSQL {version}, {machine()}"
        for name, rounds in (("relay", run.relay), ("reader", run.reader)):
            ratio = partial(rounds.ratio, other="off")
            show(rounds.table(f"{name}: {title}", "of off", ratio), shared.console, schema_names.NOTES)
    last_line({"relay": run.relay.all_rates(), "reader": run.reader.all_rates()})
