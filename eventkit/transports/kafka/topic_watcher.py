"""A thread beside each publisher that asks the broker about topics, so that the publisher never waits for an answer.

It asks about a topic at its first use and about all of them again now and then: the broker itself says nothing when a
topic gets another count of partitions or is made anew. It begins with a question to the producer, to make it connect.
"""

import logging
import queue
import threading

from confluent_kafka import KafkaException, Producer

from eventkit.errors import TransportError
from eventkit.transports.kafka.topics import KafkaTopics, Topic

logger = logging.getLogger("eventkit.transports.kafka")

_AGAIN = 0.5  # seconds after an unanswered question
_CONNECT = 10.0


class TopicWatcher(threading.Thread):
    """Answers arrive in `news` as pairs of a topic's name and what it is, or why it cannot be used."""

    def __init__(self, topics: KafkaTopics, producer: Producer, *, interval: float) -> None:
        super().__init__(name="eventkit topic watch", daemon=True)
        self.news: queue.SimpleQueue[tuple[str, Topic | str]] = queue.SimpleQueue()
        self._topics = topics
        self._producer: Producer | None = producer
        self._interval = interval
        self._wanted: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._names: dict[str, None] = {}
        self._stopped = threading.Event()

    def want(self, name: str) -> None:
        """Ask about a topic, now and from now on."""
        self._wanted.put(name)

    def stop(self) -> None:
        """Ask nothing more."""
        self._stopped.set()
        self._wanted.put(None)

    def run(self) -> None:
        """Ask."""
        self._connect()
        while not self._stopped.is_set():
            try:
                name = self._wanted.get(timeout=self._interval)
            except queue.Empty:
                self._tell(list(self._names))
                continue
            if name is not None:
                self._names[name] = None
                self._tell([name])

    def _connect(self) -> None:
        producer, self._producer = self._producer, None
        try:
            if producer is not None:
                producer.list_topics(timeout=_CONNECT)
        except KafkaException:
            logger.debug("the producer is not connected yet")  # its own news say why

    def _tell(self, names: list[str]) -> None:
        while names and not self._stopped.is_set():
            try:
                answers = self._topics.look_up(names)
                if any(isinstance(answer, str) for answer in answers.values()):
                    self._stopped.wait(_AGAIN)  # a new topic is not known to every broker at once
                    answers = self._topics.look_up(names)
            except TransportError as error:
                logger.debug("no answer about topics %s: %s", names, error)
                self._stopped.wait(_AGAIN)
                continue
            for answer in answers.items():
                self.news.put(answer)
            return
