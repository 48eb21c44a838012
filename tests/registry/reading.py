"""Foreign readers: Confluent's client with its JSON deserializer; and a relay whose messages name schemas."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from tests.waiting import wait_until

PARTITIONS = 6


class Read(NamedTuple):
    """A message as Confluent's deserializer reads it."""

    data: Any
    headers: dict[str, bytes]
    key: str


@contextmanager
def confluent_reader(kafka_url: str, topic: str, registry_url: str) -> Iterator["ConfluentReader"]:
    """Yield a reader of a topic from its beginning on."""
    consumer = Consumer({"bootstrap.servers": urlsplit(kafka_url).netloc, "group.id": f"confluent {topic}"})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    with SchemaRegistryClient({"url": registry_url}) as client:
        yield ConfluentReader(consumer, topic, JSONDeserializer(None, schema_registry_client=client))
    consumer.close()


class ConfluentReader:
    """It validates each message against the schema that it names; any error is raised."""

    def __init__(self, consumer: Consumer, topic: str, deserializer: Any) -> None:  # noqa: ANN401 its types are odd
        self._consumer = consumer
        self._topic = topic
        self._deserializer = deserializer
        self._found: list[Read] = []

    def has(self, count: int) -> list[Read]:
        """Wait for that many messages and return them."""
        wait_until(lambda: self._poll() >= count, timeout=120, what=f"{count} messages in {self._topic}")
        return self._found

    def _poll(self) -> int:
        message = self._consumer.poll(0.2)
        if message is not None:
            assert message.error() is None
            headers: Any = message.headers()
            context = SerializationContext(self._topic, MessageField.VALUE, headers)
            data = self._deserializer(message.value(), context)
            self._found.append(Read(data, dict(headers), (message.key() or b"").decode()))
        return len(self._found)
