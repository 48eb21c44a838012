"""A consumer that has nothing of eventkit: Confluent's client checks each event against its registered schema.

python -m examples.schema_registry localhost:9092 shop.order http://localhost:8081
"""

import sys
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, Message
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext


def events(brokers: str, topic: str, registry: str) -> Iterator[tuple[Message, dict[str, Any]]]:
    """Yield each message of a topic, from the first one on, with its data."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": f"audit {topic}", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    with SchemaRegistryClient({"url": registry}) as client:
        deserialize: Any = JSONDeserializer(None, schema_registry_client=client)
        while True:
            message = consumer.poll(1.0)
            if message is not None and not message.error():
                context = SerializationContext(topic, MessageField.VALUE, message.headers())
                yield message, deserialize(message.value(), context)


if __name__ == "__main__":
    for message, data in events(*sys.argv[1:4]):
        print((message.key() or b"").decode(), data)
