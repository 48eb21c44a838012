"""The parts the relay is made of, bare, each in a process of its own: `python -m benchmarks.raw read | produce`.

    read DATABASE                        page through the pending events, 10,000 rows a statement
    produce DATABASE BROKER TOPIC        send the relay's exact keys, values and headers

Each prints its sample as JSON.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import psycopg
from confluent_kafka import KafkaError, Producer

from benchmarks.measure import Meter, Sample
from eventkit.domain.message import Message
from eventkit.storage.outbox.outbox import message
from eventkit.transports.kafka.address import Address
from eventkit.transports.kafka.broker_state import BrokerState
from eventkit.transports.kafka.producer_settings import USUAL_LIMIT, producer_properties

_PAGE = 10_000
_READ = b"""
select e.position, o.topic, e.stream, e.version::text, e.id::text, e.source, e.type,
       nullif(e.schema_version, 1)::text, btrim(to_json(e.recorded_at)::text, '"'),
       nullif(e.metadata::text, '{}'), e.data::text
  from eventkit.outbox o join eventkit.events e using (position)
 where position > %s order by position limit 10000
"""
_WARM = 1_000  # messages sent before the clock starts


def read(url: str) -> Sample:
    """Read everything that is pending."""
    with psycopg.connect(url, autocommit=True) as connection:
        next(_pages(connection), None)
        meter, began, count = Meter(), time.perf_counter(), 0
        for rows in _pages(connection):
            count += len(rows)
        return meter.sample(count, time.perf_counter() - began)


def produce(url: str, bootstrap: str, topic: str) -> Sample:
    """Send everything that is pending; its messages are made before the clock starts."""
    with psycopg.connect(url, autocommit=True) as connection:
        messages = [message(row) for rows in _pages(connection) for row in rows]
    producer = client(f"kafka://{bootstrap}")
    send(producer, topic, messages[:_WARM])
    meter, began = Meter(), time.perf_counter()
    confirmed = send(producer, topic, messages)
    return meter.sample(confirmed, time.perf_counter() - began)


def client(url: str) -> Producer:
    """Return a client with the relay's settings, which chooses partitions by itself, as the relay does."""
    address = Address(url, {})
    settings = producer_properties(address, BrokerState(address), USUAL_LIMIT)
    return Producer({**settings, "partitioner": "murmur2_random"})


def send(producer: Producer, topic: str, messages: Sequence[Message]) -> int:
    """Send all and wait for their reports; return how many were confirmed."""
    confirmed = 0

    def report(error: KafkaError | None, _: object) -> None:
        nonlocal confirmed
        confirmed += error is None

    for number, each in enumerate(messages):
        headers: Any = each.headers
        while True:
            try:
                producer.produce(topic, each.value, each.key, headers=headers, on_delivery=report)
                break
            except BufferError:
                producer.poll(0.005)
        if not number % 1_000:
            producer.poll(0)
    producer.flush()
    return confirmed


def _pages(connection: psycopg.Connection[Any]) -> Iterator[list[tuple[Any, ...]]]:
    cursor = connection.cursor(binary=True)
    position = 0
    while rows := cursor.execute(_READ, [position], prepare=True).fetchall():
        yield rows
        position = rows[-1][0]


if __name__ == "__main__":
    print(msgspec.json.encode(produce(*sys.argv[2:]) if sys.argv[1] == "produce" else read(*sys.argv[2:])).decode())
