"""A reader of every partition from its end on, in no group: it commits nothing, so nothing of it stays."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import uuid4

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from eventkit.domain.message import Message
from eventkit.errors import TransportUnavailable
from eventkit.transports.kafka.address import Address
from eventkit.transports.kafka.subscription import METADATA_AGE, KafkaSubscription
from eventkit.transports.progress import PartitionProgress
from eventkit.transports.resumption import Resumption

_PATIENCE = 5.0  # seconds a question may take
_LOOK = 0.02
_MOVING = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}  # as right after a topic's creation


class Passing(PartitionProgress):
    """Remembers nothing."""

    __slots__ = ()

    def delivered(self, offset: int, key: str) -> None:
        """Let it pass."""


class KafkaListener(KafkaSubscription):
    """See `Transport.listen`."""

    def __init__(self, address: Address, partitions: Mapping[str, int], *, fetch_wait_ms: int) -> None:
        self._partitions = dict(partitions)
        self._looked = time.monotonic()
        places = Resumption(dict.fromkeys(partitions, ""))
        super().__init__(address, places, f"eventkit.listener.{uuid4().hex}", fetch_wait_ms=fetch_wait_ms)

    @property
    def ready(self) -> bool:
        """Always: it shares with nobody."""
        return True

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return what is there, as soon as there is something; now and then look for partitions that were added."""
        if time.monotonic() - self._looked > METADATA_AGE:
            self._looked = time.monotonic()
            with suppress(KafkaException):  # a broker that is away is looked at later
                self._take_new()
        return super().receive(limit, timeout)

    def _take_new(self) -> None:
        """Read added partitions from their beginning: they have nothing from before."""
        for topic, known in self._partitions.items():
            found = self._consumer.list_topics(topic, timeout=_PATIENCE).topics[topic]
            new = [TopicPartition(topic, number, 0) for number in range(known, len(found.partitions))]
            if found.error is None and new:
                self._assigned |= {(place.topic, place.partition): Passing() for place in new}
                self._consumer.incremental_assign(new)
                self._partitions[topic] = len(found.partitions)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Do nothing: nobody reads on from here."""

    def _begin(self, topics: Sequence[str]) -> None:
        """Take all partitions, each at the offset that its next message will have."""
        places = [TopicPartition(topic, number) for topic in topics for number in range(self._partitions[topic])]
        try:
            for place in places:
                place.offset = self._end(place)
            self._consumer.assign(places)
        except KafkaException as error:
            self._consumer.close()
            reason = self._news.reason or self._address.safe(str(error.args[0].str()))
            raise TransportUnavailable(f"Kafka at {self._address.hosts} does not answer: {reason}") from None
        self._assigned = {(place.topic, place.partition): Passing() for place in places}

    def _end(self, place: TopicPartition) -> int:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                _, end = self._consumer.get_watermark_offsets(place, timeout=_PATIENCE) or (0, 0)
            except KafkaException as error:
                if error.args[0].code() not in _MOVING or time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK)
            else:
                return end
