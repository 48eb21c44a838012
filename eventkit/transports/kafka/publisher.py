"""Publishes in order: idempotent, gapless, batches in flight, and every message reported by name.

    send -> lane of the key's partition -> client's queue -> delivery callback -> reports

A callback only appends; everything else happens in the caller's thread. The first failure ends the publisher: nothing
more is produced, and `abandon` has the last word. Belongs to the process that made it.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Message as Delivery

from eventkit.domain.message import Message
from eventkit.errors import ConfigurationError
from eventkit.transports.base import Reports
from eventkit.transports.kafka.address import Address
from eventkit.transports.kafka.broker_state import BrokerState
from eventkit.transports.kafka.delivery_errors import DeliveryError, is_permanent, judge
from eventkit.transports.kafka.partition_gate import PartitionGate, PartitionGates
from eventkit.transports.kafka.producer_settings import QUEUE, USUAL_LIMIT, make_producer
from eventkit.transports.kafka.producers import Producers
from eventkit.transports.kafka.topic_watcher import TopicWatcher
from eventkit.transports.kafka.topics import KafkaTopics, Topic
from eventkit.transports.kafka.unreported import Unreported

Done = Callable[[int], None]
Failed = Callable[[int, KafkaError, str | None], None]

_MANY = 500  # messages at once: for so many it pays to gather batches, fewer wait for nobody
_SLICE = 0.005  # seconds: how long a poll may hide other news
_IDLE = 3_600.0  # seconds
_LAST_WORD, _PURGE = 1.0, 2.0  # seconds of abandon


class KafkaPublisher:
    """See `Publisher`. `patience`: seconds without a report for a message until everything is given up."""

    def __init__(
        self, address: Address, topics: KafkaTopics, *, patience: float = 30.0, check_topics: float = 30.0
    ) -> None:
        self._address = address
        self._news = BrokerState(address)
        self._pid = os.getpid()
        self._clients = Producers(lambda limit: make_producer(address, self._news, limit), self._lose)
        self._lanes = PartitionGates()
        self._unplaced: dict[str, deque[Message]] = {}  # by topic, until the broker has said what it is
        self._opened: deque[PartitionGate] = deque()
        self._hurried = False  # whether the clients have something that shall not linger
        self._unreported = Unreported(patience)
        self._failures: deque[DeliveryError] = deque()
        self._cause_is_named = False  # by the broker, in a report
        self._verdict = Reports()
        self._patience = patience
        self._cooled = time.monotonic()
        for limit in topics.limits():  # a client needs half a second until it may send
            self._clients.of(limit)
        self._watch = TopicWatcher(topics, self._clients.of(USUAL_LIMIT), interval=check_topics)
        self._watch.start()

    def send(self, messages: Sequence[Message]) -> None:
        """Take messages over; wait while too many are unreported."""
        self._check_process()
        self._unreported.add([message.tag for message in messages])
        self._cool()
        self._serve(0)
        if self._ended:
            return  # what is not produced is in no report
        known, done, failed = self._lanes.known, self._unreported.arrived.append, self._fail
        for message in messages:
            lane = known.get((message.topic, message.key))
            if lane is None or not lane.warm:
                self._queue(lane, message)
                if self._ended:
                    break  # the client refused it, and the key's next message has a warm lane
                continue
            lane.used = True
            try:
                lane.produce(
                    message.topic,
                    message.value,
                    message.key,
                    lane.partition,
                    partial(_report, done, failed, message.tag),
                    headers=message.headers,
                )
            except Exception as error:  # noqa: BLE001 the client raises what it likes for a message it does not take
                if not self._retry(lane, message, error):
                    break
        self._wait_for_room()
        self._hurried = self._hurried or len(messages) < _MANY

    def reports(self, timeout: float) -> Reports:
        """Return the news; see `Publisher`."""
        self._check_process()
        deadline = time.monotonic() + timeout
        self._serve(0)
        while not self._unreported.confirmed and not self._ended and (left := deadline - time.monotonic()) > 0:
            self._serve(left)
        self._look_at_the_clock()
        return self._take()

    def abandon(self) -> Reports:
        """Throw away what was not sent; see `Publisher`."""
        self._check_process()
        self._poll_until(_LAST_WORD, lambda: self._cause_is_named)  # a fatal error may come before its cause
        return self._end(wait=False)  # its successor waits for this

    def close(self, timeout: float) -> Reports:
        """Wait for what is queued; see `Publisher`."""
        self._check_process()
        deadline = time.monotonic() + timeout
        while self._unreported and not self._ended and time.monotonic() < deadline:
            self._serve(deadline - time.monotonic())
        return self._end(wait=True)

    # the way in

    def _queue(self, lane: PartitionGate | None, message: Message) -> None:
        """Take the slow way: a key, a topic or a partition is used for the first time."""
        lane = lane or self._lanes.find(message.topic, message.key)
        if lane is None:
            if message.topic not in self._unplaced:
                self._unplaced[message.topic] = deque()
                self._watch.want(message.topic)
            self._unplaced[message.topic].append(message)
        elif lane.warm:
            self._produce(lane, message)
        elif lane.probing:
            lane.waiting.append(message)
        else:
            lane.probing = True
            self._produce(lane, message, probe=True)

    def _produce(self, lane: PartitionGate, message: Message, *, probe: bool = False) -> None:
        if self._ended:
            return
        done: Done = partial(self._open, lane) if probe else self._unreported.arrived.append
        report = partial(_report, done, self._fail, message.tag)
        lane.used = True
        while True:
            try:
                lane.produce(message.topic, message.value, message.key, lane.partition, report, headers=message.headers)
            except BufferError:
                self._clients.poll(_SLICE)
                self._look_at_the_clock()
                if self._ended:
                    return
            except Exception as error:  # noqa: BLE001 see send
                self._refuse(message, error)
                return
            else:
                return

    def _retry(self, lane: PartitionGate, message: Message, error: Exception) -> bool:
        """Deal with a message that the client did not take; return whether to go on."""
        if isinstance(error, BufferError):
            self._produce(lane, message)
        else:
            self._refuse(message, error)
        return not self._ended

    def _refuse(self, message: Message, error: Exception) -> None:
        if isinstance(error, KafkaException):
            self._failures.append(DeliveryError(message.tag, message.topic, error.args[0]))
        else:  # text that is no UTF-8, a header of a wrong type
            self._verdict.refused[message.tag] = f"the client cannot send it: {error}"

    def _wait_for_room(self) -> None:
        while len(self._unreported) > QUEUE and not self._ended:
            self._serve(_SLICE)
            self._look_at_the_clock()

    # the way back

    def _open(self, lane: PartitionGate, tag: int) -> None:
        self._unreported.arrived.append(tag)
        self._opened.append(lane)

    def _fail(self, tag: int, error: KafkaError, topic: str | None) -> None:
        failure = DeliveryError(tag, topic or "", error)
        self._failures.append(failure)
        self._cause_is_named = self._cause_is_named or is_permanent(failure)

    def _lose(self, reason: str) -> None:
        self._verdict.lost = self._verdict.lost or reason

    @property
    def _ended(self) -> bool:
        return bool(self._failures) or self._verdict.failed

    def _serve(self, seconds: float) -> None:
        """Have reports called back, and let go on what waited for them; nothing is hurried but here."""
        if self._hurried:
            self._hurried = False
            self._clients.hurry()
        else:
            several = len(self._clients) > 1 or self._unplaced
            self._clients.poll(min(seconds, _SLICE) if several else seconds)
        self._unreported.count()
        self._go_on()

    def _go_on(self) -> None:
        self._hurried = self._hurried or bool(self._opened) or not self._watch.news.empty()
        while not self._watch.news.empty():
            self._place(*self._watch.news.get())
        while self._opened:
            lane = self._opened.popleft()
            lane.probing, lane.warm = False, True
            while lane.waiting and not self._ended:
                self._produce(lane, lane.waiting.popleft())

    def _place(self, name: str, topic: Topic | str) -> None:
        if isinstance(topic, str):
            self._verdict.held[name] = topic
        elif name in self._unplaced:
            self._lanes.open(topic, self._clients.of(topic.max_bytes).produce)
            for message in self._unplaced.pop(name):
                self._queue(None, message)

    def _look_at_the_clock(self) -> None:
        if self._unreported.is_stuck():
            reason = f", which is away: {self._news.reason}" if self._news.away else ""
            self._verdict.lost = f"no report for {self._patience:g} s from Kafka at {self._address.hosts}{reason}"

    def _take(self) -> Reports:
        confirmed = self._unreported.take()
        if confirmed and self._news.away:
            self._news.back()
        judge(self._failures, self._verdict)
        self._failures.clear()
        verdict = self._verdict
        return Reports(confirmed, dict(verdict.refused), dict(verdict.held), verdict.lost)

    # the end

    def _poll_until(self, seconds: float, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and self._clients.outstanding and time.monotonic() < deadline:
            self._clients.poll(0.02)

    def _end(self, *, wait: bool) -> Reports:
        self._clients.purge()
        self._poll_until(_PURGE, lambda: False)
        self._watch.stop()
        self._clients.leave(self._watch, wait=wait)
        return self._take()

    def _cool(self) -> None:
        now = time.monotonic()
        if now - self._cooled > _IDLE:
            self._cooled = now
            self._lanes.cool()

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise ConfigurationError(
                f"this Kafka publisher was made in process {self._pid} and is used in its fork {os.getpid()}: "
                "make one in each process"
            )


def _report(done: Done, failed: Failed, tag: int, error: KafkaError | None, message: Delivery) -> None:
    """Take a delivery report: called by the client, from within `poll`; it must not raise, poll or flush."""
    if error is None:
        done(tag)
    else:
        failed(tag, error, message.topic())
