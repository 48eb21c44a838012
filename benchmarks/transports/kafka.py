"""confluent-kafka: idempotent, `acks=all`, a report for each; consumed with our subscription's fetch settings."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

from confluent_kafka import Consumer

from benchmarks.raw import client, send
from benchmarks.transports.contestant import DEADLINE, Place
from eventkit.domain.message import Message
from eventkit.projection.run.sources import LIMIT, RECEIVE_WAIT

_CONSUMER = {
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "check.crcs": "true",
    "fetch.queue.backoff.ms": 20,  # with the client's own second a bare loop stands still most of the time
}


class Client:
    """See `Contestant`."""

    def __init__(self, place: Place) -> None:
        """Make a producer, which connects in the background."""
        self._topic = place.topic
        self._servers = {"bootstrap.servers": place.url.removeprefix("kafka://")}
        self._producer = client(place.url)

    def publish(self, messages: Sequence[Message]) -> None:
        """Produce, and flush."""
        confirmed = send(self._producer, self._topic, messages)
        if confirmed < len(messages):
            raise RuntimeError(f"{len(messages) - confirmed} messages were not confirmed")

    def consume(self, count: int, began: Callable[[], None], open_: ExitStack) -> None:
        """Consume by batches, and commit after each."""
        settings = {**self._servers, **_CONSUMER, "group.id": self._topic}
        consumer = open_.enter_context(closing(Consumer(settings)))
        consumer.subscribe([self._topic])
        batch, left = consumer.consume(1, DEADLINE), count
        began()
        while left:
            for message in batch:
                message.key(), message.value(), message.headers()
            left -= len(batch)
            if batch:
                consumer.commit()
            batch = consumer.consume(min(LIMIT, left), RECEIVE_WAIT) if left else []
