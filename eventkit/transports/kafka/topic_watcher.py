"""Threads that ask the broker about topics, so that a publisher or a reader never waits for an answer.

A publisher asks about a topic at its first use, and about all topics again at an interval: the broker does not
announce a new number of partitions or a recreated topic. It first asks the producer for metadata, which makes the
producer connect.
"""

import logging
import queue
import threading
from collections.abc import Mapping

from confluent_kafka import KafkaException, Producer

from eventkit.errors import TransportError
from eventkit.transports.kafka.topics import KafkaTopics, Topic

logger = logging.getLogger("eventkit.transports.kafka")

_RETRY_DELAY = 0.5  # seconds after an unanswered request
_CONNECT_TIMEOUT = 10.0  # seconds
IDENTITY_INTERVAL = 5.0  # seconds until a reader notices that its topic was created again


class TopicWatcher(threading.Thread):
    """Puts pairs into `answers`: a topic's name, and its description or the reason why it is unusable."""

    def __init__(self, topics: KafkaTopics, producer: Producer, *, interval: float) -> None:
        super().__init__(name="eventkit topic watch", daemon=True)
        self.answers: queue.SimpleQueue[tuple[str, Topic | str]] = queue.SimpleQueue()
        self._topics = topics
        self._producer: Producer | None = producer
        self._interval = interval
        self._wanted: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._names: dict[str, None] = {}
        self._stopped = threading.Event()

    def want(self, name: str) -> None:
        """Ask about a topic now, and again at each interval."""
        self._wanted.put(name)

    def stop(self) -> None:
        """End the thread after its current request."""
        self._stopped.set()
        self._wanted.put(None)

    def run(self) -> None:
        self._connect()
        while not self._stopped.is_set():
            try:
                name = self._wanted.get(timeout=self._interval)
            except queue.Empty:
                self._ask(list(self._names))
                continue
            if name is not None:
                self._names[name] = None
                self._ask([name])

    def _connect(self) -> None:
        producer, self._producer = self._producer, None
        try:
            if producer is not None:
                producer.list_topics(timeout=_CONNECT_TIMEOUT)
        except KafkaException:
            logger.debug("the producer is not connected yet")  # its BrokerState logs the reason

    def _ask(self, names: list[str]) -> None:
        while names and not self._stopped.is_set():
            try:
                answers = self._topics.look_up(names)
                if any(isinstance(answer, str) for answer in answers.values()):
                    self._stopped.wait(_RETRY_DELAY)  # a new topic reaches the brokers one after the other
                    answers = self._topics.look_up(names)
            except TransportError as error:
                logger.debug("no answer about topics %s: %s", names, error)
                self._stopped.wait(_RETRY_DELAY)
                continue
            for answer in answers.items():
                self.answers.put(answer)
            return


class IdentityWatcher(threading.Thread):
    """Asks at an interval whether topics are still the ones that a reader joined.

    The client reads a topic that was created again at the offset of the old one, and so skips its first messages.
    """

    def __init__(self, topics: KafkaTopics, ids: Mapping[str, str]) -> None:
        super().__init__(name="eventkit topic identity", daemon=True)
        self.reasons: dict[str, str] = {}  # of the topics that are others now
        self._topics = topics
        self._ids = ids
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the thread after its current request."""
        self._stopped.set()

    def run(self) -> None:
        while not self.reasons and not self._stopped.wait(IDENTITY_INTERVAL):
            try:
                found = self._topics.require(self._ids)
            except TransportError as error:  # the client reports missing topics, and waits for an absent broker
                logger.debug("no answer about topics %s: %s", list(self._ids), error)
                continue
            self.reasons = {
                topic.name: "it was deleted and created again: reading begins anew"
                for topic in found
                if topic.id not in (None, self._ids[topic.name])
            }
