"""Publishes in order: idempotent, gapless, several batches in flight, and a report for every message.

    send -> gate of the key's partition -> producer's queue -> delivery callback -> reports

A callback only appends; everything else happens in the caller's thread. The first failure ends the publisher: it
produces nothing more, and `abandon` returns the last results. A publisher belongs to the process that made it.
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
from eventkit.transports.kafka.delivery_errors import DeliveryError, classify, is_permanent
from eventkit.transports.kafka.partition_gate import PartitionGate, PartitionGates
from eventkit.transports.kafka.producer_settings import QUEUE, USUAL_LIMIT, make_producer
from eventkit.transports.kafka.producers import Producers
from eventkit.transports.kafka.topic_watcher import TopicWatcher
from eventkit.transports.kafka.topics import KafkaTopics, Topic
from eventkit.transports.kafka.unreported import Unreported

Done = Callable[[int], None]
Failed = Callable[[int, KafkaError, str | None], None]

_LINGER_FROM = 500  # messages of one `send`: so many linger to fill batches, fewer are flushed at once
_POLL_SLICE = 0.005  # seconds: a longer poll of one producer would delay the others and the topic watcher
_COOL_INTERVAL = 3_600.0  # seconds
_CAUSE_TIMEOUT, _PURGE_TIME = 1.0, 2.0  # seconds of abandon


class KafkaPublisher:
    """See `Publisher`. It fails when the oldest message has no report for `report_timeout` seconds."""

    def __init__(
        self, address: Address, topics: KafkaTopics, *, report_timeout: float = 30.0, topic_check_interval: float = 30.0
    ) -> None:
        self._address = address
        self._state = BrokerState(address)
        self._pid = os.getpid()
        self._clients = Producers(lambda limit: make_producer(address, self._state, limit), self._lose)
        self._gates = PartitionGates()
        self._unplaced: dict[str, deque[Message]] = {}  # by topic, until the broker has described it
        self._opened: deque[PartitionGate] = deque()
        self._flush_due = False  # whether the producers have messages that must not linger
        self._unreported = Unreported(report_timeout)
        self._failures: deque[DeliveryError] = deque()
        self._cause_is_known = False  # from the broker's report
        self._results = Reports()
        self._report_timeout = report_timeout
        self._cooled = time.monotonic()
        for limit in topics.limits():  # a producer needs half a second before its first message
            self._clients.of(limit)
        self._watch = TopicWatcher(topics, self._clients.of(USUAL_LIMIT), interval=topic_check_interval)
        self._watch.start()

    def send(self, messages: Sequence[Message]) -> None:
        """Queue messages; wait while too many are unreported."""
        self._check_process()
        self._unreported.add([message.tag for message in messages])
        self._cool()
        self._serve(0)
        if self._ended:
            return  # an unproduced message is in no report
        known, done, failed = self._gates.known, self._unreported.arrived.append, self._fail
        for message in messages:
            gate = known.get((message.topic, message.key))
            if gate is None or not gate.warm:
                self._queue(gate, message)
                if self._ended:
                    break  # the producer refused it, and the gate of the key's next message is warm
                continue
            gate.used = True
            try:
                gate.produce(
                    message.topic,
                    message.value,
                    message.key,
                    gate.partition,
                    partial(_report, done, failed, message.tag),
                    headers=message.headers,
                )
            except Exception as error:  # noqa: BLE001 the producer raises errors of many types for a refused message
                if not self._retry(gate, message, error):
                    break
        self._wait_for_room()
        self._flush_due = self._flush_due or len(messages) < _LINGER_FROM

    def reports(self, timeout: float) -> Reports:
        """Return the new results; see `Publisher`."""
        self._check_process()
        deadline = time.monotonic() + timeout
        self._serve(0)
        while not self._unreported.confirmed and not self._ended and (left := deadline - time.monotonic()) > 0:
            self._serve(left)
        self._check_stuck()
        return self._take()

    def abandon(self) -> Reports:
        """Discard the unsent messages; see `Publisher`."""
        self._check_process()
        self._poll_until(_CAUSE_TIMEOUT, lambda: self._cause_is_known)  # a fatal error may come before its cause
        return self._end(wait=False)  # the next publisher waits for this

    def close(self, timeout: float) -> Reports:
        """Wait for the queued messages; see `Publisher`."""
        self._check_process()
        deadline = time.monotonic() + timeout
        while self._unreported and not self._ended and time.monotonic() < deadline:
            self._serve(deadline - time.monotonic())
        return self._end(wait=True)

    # --- sending

    def _queue(self, gate: PartitionGate | None, message: Message) -> None:
        """Queue a message whose key, topic or partition is used for the first time."""
        gate = gate or self._gates.find(message.topic, message.key)
        if gate is None:
            if message.topic not in self._unplaced:
                self._unplaced[message.topic] = deque()
                self._watch.want(message.topic)
            self._unplaced[message.topic].append(message)
        elif gate.warm:
            self._produce(gate, message)
        elif gate.probing:
            gate.waiting.append(message)
        else:
            gate.probing = True
            self._produce(gate, message, probe=True)

    def _produce(self, gate: PartitionGate, message: Message, *, probe: bool = False) -> None:
        if self._ended:
            return
        done: Done = partial(self._open, gate) if probe else self._unreported.arrived.append
        report = partial(_report, done, self._fail, message.tag)
        gate.used = True
        while True:
            try:
                gate.produce(message.topic, message.value, message.key, gate.partition, report, headers=message.headers)
            except BufferError:
                self._clients.poll(_POLL_SLICE)
                self._check_stuck()
                if self._ended:
                    return
            except Exception as error:  # noqa: BLE001 see send
                self._refuse(message, error)
                return
            else:
                return

    def _retry(self, gate: PartitionGate, message: Message, error: Exception) -> bool:
        """Retry a message that the producer refused because its queue was full; return whether to send the next."""
        if isinstance(error, BufferError):
            self._produce(gate, message)
        else:
            self._refuse(message, error)
        return not self._ended

    def _refuse(self, message: Message, error: Exception) -> None:
        if isinstance(error, KafkaException):
            self._failures.append(DeliveryError(message.tag, message.topic, error.args[0]))
        else:  # text with lone surrogates, a header of a wrong type
            self._results.refused[message.tag] = f"the client cannot send it: {error}"

    def _wait_for_room(self) -> None:
        while len(self._unreported) > QUEUE and not self._ended:
            self._serve(_POLL_SLICE)
            self._check_stuck()

    # --- reports

    def _open(self, gate: PartitionGate, tag: int) -> None:
        self._unreported.arrived.append(tag)
        self._opened.append(gate)

    def _fail(self, tag: int, error: KafkaError, topic: str | None) -> None:
        failure = DeliveryError(tag, topic or "", error)
        self._failures.append(failure)
        self._cause_is_known = self._cause_is_known or is_permanent(failure)

    def _lose(self, reason: str) -> None:
        self._results.lost = self._results.lost or reason

    @property
    def _ended(self) -> bool:
        return bool(self._failures) or self._results.failed

    def _serve(self, seconds: float) -> None:
        """Flush or poll the producers, then send the messages that waited for a report or a topic."""
        if self._flush_due:
            self._flush_due = False
            self._clients.flush()
        else:
            several = len(self._clients) > 1 or self._unplaced
            self._clients.poll(min(seconds, _POLL_SLICE) if several else seconds)
        self._unreported.count()
        self._send_waiting()

    def _send_waiting(self) -> None:
        self._flush_due = self._flush_due or bool(self._opened) or not self._watch.answers.empty()
        while not self._watch.answers.empty():
            self._place(*self._watch.answers.get())
        while self._opened:
            gate = self._opened.popleft()
            gate.probing, gate.warm = False, True
            while gate.waiting and not self._ended:
                self._produce(gate, gate.waiting.popleft())

    def _place(self, name: str, topic: Topic | str) -> None:
        if isinstance(topic, str):
            self._results.held[name] = topic
        elif name in self._unplaced:
            self._gates.open(topic, self._clients.of(topic.max_bytes).produce)
            for message in self._unplaced.pop(name):
                self._queue(None, message)

    def _check_stuck(self) -> None:
        if self._unreported.is_stuck():
            reason = f", which is away: {self._state.reason}" if self._state.away else ""
            self._results.lost = f"no report for {self._report_timeout:g} s from Kafka at {self._address.hosts}{reason}"

    def _take(self) -> Reports:
        confirmed = self._unreported.take()
        if confirmed and self._state.away:
            self._state.back()
        classify(self._failures, self._results)
        self._failures.clear()
        results = self._results
        return Reports(confirmed, dict(results.refused), dict(results.held), results.lost)

    # --- ending

    def _poll_until(self, seconds: float, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and self._clients.outstanding and time.monotonic() < deadline:
            self._clients.poll(0.02)

    def _end(self, *, wait: bool) -> Reports:
        self._clients.purge()
        self._poll_until(_PURGE_TIME, lambda: False)
        self._watch.stop()
        self._clients.close(self._watch, wait=wait)
        return self._take()

    def _cool(self) -> None:
        now = time.monotonic()
        if now - self._cooled > _COOL_INTERVAL:
            self._cooled = now
            self._gates.cool()

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise ConfigurationError(
                f"this Kafka publisher was made in process {self._pid} and is used in its fork {os.getpid()}: "
                "make one in each process"
            )


def _report(done: Done, failed: Failed, tag: int, error: KafkaError | None, message: Delivery) -> None:
    """Record a delivery report; the producer calls this within `poll`, and it must not raise, poll or flush."""
    if error is None:
        done(tag)
    else:
        failed(tag, error, message.topic())
