"""A reader of every partition from its end on, without a group: it commits nothing and leaves nothing behind."""

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

_REQUEST_TIMEOUT = 5.0  # seconds
_RETRY_DELAY = 0.02  # seconds
_MOVING = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}  # as right after a topic's creation


class NoProgress(PartitionProgress):
    """Records nothing, because a listener acknowledges nothing."""

    __slots__ = ()

    def delivered(self, offset: int, key: str) -> None:
        """Do nothing."""


class KafkaListener(KafkaSubscription):
    """See `Transport.listen`."""

    def __init__(self, address: Address, partitions: Mapping[str, int], *, fetch_wait_ms: int) -> None:
        self._partitions = dict(partitions)
        self._checked = time.monotonic()  # for added partitions
        places = Resumption(dict.fromkeys(partitions, ""))
        super().__init__(address, places, f"eventkit.listener.{uuid4().hex}", fetch_wait_ms=fetch_wait_ms)

    @property
    def ready(self) -> bool:
        """Always true: no other member shares the partitions."""
        return True

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return the messages that have arrived; check for added partitions every few seconds."""
        if time.monotonic() - self._checked > METADATA_AGE:
            self._checked = time.monotonic()
            with suppress(KafkaException):  # a broker that is away is asked later
                self._assign_added()
        return super().receive(limit, timeout)

    def _assign_added(self) -> None:
        """Read added partitions from their beginning: all their messages are new."""
        for topic, known in self._partitions.items():
            found = self._consumer.list_topics(topic, timeout=_REQUEST_TIMEOUT).topics[topic]
            new = [TopicPartition(topic, number, 0) for number in range(known, len(found.partitions))]
            if found.error is None and new:
                self._assigned |= {(place.topic, place.partition): NoProgress() for place in new}
                self._consumer.incremental_assign(new)
                self._partitions[topic] = len(found.partitions)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Do nothing: no other reader resumes here."""

    def _begin(self, topics: Sequence[str]) -> None:
        """Assign all partitions, each at the offset of its next message."""
        places = [TopicPartition(topic, number) for topic in topics for number in range(self._partitions[topic])]
        try:
            for place in places:
                place.offset = self._end(place)
            self._consumer.assign(places)
        except KafkaException as error:
            self.close()
            reason = self._state.reason or self._address.safe(str(error.args[0].str()))
            raise TransportUnavailable(f"Kafka at {self._address.hosts} does not answer: {reason}") from None
        self._assigned = {(place.topic, place.partition): NoProgress() for place in places}

    def _end(self, place: TopicPartition) -> int:
        deadline = time.monotonic() + _REQUEST_TIMEOUT
        while True:
            try:
                _, end = self._consumer.get_watermark_offsets(place, timeout=_REQUEST_TIMEOUT) or (0, 0)
            except KafkaException as error:
                if error.args[0].code() not in _MOVING or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_DELAY)
            else:
                return end
