"""One member of a consumer group. Rebalances revoke partitions only inside `receive`.

Assignment is cooperative: a rebalance moves only the partitions that change owners. The other partitions stay, and
their unacknowledged messages are not redelivered. Offsets are committed in the background after `acknowledge`; a lost
commit causes a redelivery, nothing else.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import is_
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Delivery

from eventkit.domain.message import JSON_TYPE, Message, plain_message, total_size
from eventkit.domain.structured import opened
from eventkit.errors import ConfigurationError, TopicUnusable, TransportUnavailable
from eventkit.transports.base import MAX_BYTES, Mark
from eventkit.transports.kafka.address import Address
from eventkit.transports.kafka.broker_state import BrokerState
from eventkit.transports.kafka.delivery_errors import topic_reason
from eventkit.transports.kafka.topic_watcher import IdentityWatcher
from eventkit.transports.progress import PartitionProgress
from eventkit.transports.received import unreadable
from eventkit.transports.resumption import Resumption

logger = logging.getLogger("eventkit.transports.kafka")

_OFFSETS_TIMEOUT = 10.0  # seconds
METADATA_AGE = 5.0  # seconds until added partitions are noticed: the client's default is five minutes
_SPARE_AFTER = 12.0  # seconds without a partition after which a member counts as a spare one
_COMMIT_INTERVAL = 0.1  # seconds
_CLOSE_TIMEOUT = 4.5  # seconds
_CHUNK = 250  # deliveries converted at a time: so few stay in the processor's cache
_FETCH_BYTES = 262_144  # compressed, of one broker's response
_TYPE_INDEX, _JSON_TYPE = 6, ("content-type", JSON_TYPE.encode())  # of eventkit's messages
_COMMIT_TRIES, _COMMIT_RETRY = 5, 0.2  # number, and seconds between two, for the last commit


# For a header name that is not UTF-8 the client returns a broken list *and* sets an error. Python's specialized call
# passes both on, and touching the list then ends the process. A call from C drops the list and raises.
_headers: Any = partial(Delivery.headers)  # Any: a list here, the client's types allow a dict too


class KafkaSubscription:
    """See `Subscription`."""

    is_new = False  # a new group gets all earlier messages

    def __init__(
        self, address: Address, places: Resumption, group: str, *, fetch_wait_ms: int = 500,
        identities: IdentityWatcher | None = None,
    ) -> None:  # fmt: skip
        """Join; `identities` watches the topics, and is stopped with this subscription."""
        self._address = address
        self._places = places
        self._error: Exception | None = None  # raised by `resume`
        self._state = BrokerState(address)
        self._group = group
        # A reader that keeps its own places must notice that messages are gone. The client's default skips history.
        reset = "earliest" if places.resume is None else "error"
        given = {"group_id": group, "fetch_wait_max_ms": fetch_wait_ms, "auto_offset_reset": reset}
        self._consumer = _consumer(address, self._state, given, on_commit=self._on_commit)
        self._assigned: dict[tuple[str, int], PartitionProgress] = {}
        self._joined: float | None = None  # when the group assigned this member's partitions
        self._received: list[Message] = []  # by the running call of `receive`; tags are (progress, offset)
        self._received_ends: dict[PartitionProgress, int] = {}  # the last offset of each partition among them
        self._fresh: list[Message] = []  # delivered since the last acknowledgement, and not yet recorded as progress
        self._ends: dict[PartitionProgress, int] = {}  # the same among those
        self._due: dict[tuple[str, int], int] = {}  # offsets to commit
        self._committed = 0.0  # time of the last commit
        self._identities = identities
        self._begin(list(places.topics))
        if identities:
            identities.start()

    @property
    def ready(self) -> bool:
        """Whether partitions were assigned and each leader has answered a fetch; or none were, for some time.

        A member that joins later has no partition until the others have released some.
        """
        if not self._assigned:
            return self._joined is not None and time.monotonic() - self._joined > _SPARE_AFTER
        return all(map(self._was_fetched, self._assigned))

    def _was_fetched(self, place: tuple[str, int]) -> bool:
        _, end = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True) or (0, OFFSET_INVALID)
        return bool(end != OFFSET_INVALID)

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return the messages that have arrived; see `Subscription`."""
        self._commit()
        deadline = time.monotonic() + timeout
        first = self._consumer.poll(timeout)
        while first is not None and not self._is_message(first):
            first = self._consumer.poll(max(0.0, deadline - time.monotonic()))
        self._raise_error()
        if first is None:
            return []
        if self._state.away:
            self._state.back()
        self._received, self._received_ends, deliveries, size = [], {}, [first], 0
        while deliveries:
            found = self._messages(deliveries)
            self._received += found
            size += total_size(found)
            wanted = min(limit - len(self._received), _CHUNK)
            # without a timeout: `consume` would wait for the whole number
            deliveries = self._consumer.consume(wanted, 0) if wanted and size < MAX_BYTES else []
        self._raise_error()
        received, self._received = self._received, []
        self._fresh += received
        self._ends |= self._received_ends
        return received

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Commit the offsets behind the acknowledged messages; see `Subscription`."""
        moved = self._acknowledge_all(messages) or self._acknowledge_some(messages)
        for place, progress in self._assigned.items():  # a revoked partition is missing: another member reads it
            if progress in moved:
                self._due[place] = progress.resume or 0
        self._commit()

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return the offsets behind these messages."""
        last = self._ends if self._are_fresh(messages) else dict([message.tag for message in messages])
        return [
            Mark(topic, partition, self._places.topics[topic], (last[progress] + 1,))
            for (topic, partition), progress in self._assigned.items()
            if progress in last
        ]

    def _raise_error(self) -> None:
        if self._identities and self._identities.reasons:
            raise TopicUnusable(self._identities.reasons)
        if self._error is not None:
            raise self._error

    def _acknowledge_all(self, messages: Sequence[Message]) -> set[PartitionProgress]:
        """Advance behind all delivered messages, if these are all of them: the usual case, and the cheap one."""
        last = self._ends
        if not self._are_fresh(messages) or not all(progress.is_clear for progress in last):
            return set()
        self._fresh, self._ends = [], {}
        for progress, offset in last.items():
            progress.complete(offset)
        return set(last)

    def _are_fresh(self, messages: Sequence[Message]) -> bool:
        """Whether these are all messages since the last acknowledgement, so that `_ends` has their last offsets."""
        return len(messages) == len(self._fresh) and all(map(is_, messages, self._fresh))

    def _acknowledge_some(self, messages: Sequence[Message]) -> set[PartitionProgress]:
        for message in self._fresh:
            progress, offset = message.tag
            progress.delivered(offset, message.key)
        self._fresh, self._ends = [], {}
        touched = set()
        for message in messages:
            progress, offset = message.tag
            progress.acknowledge(offset, message.key)
            touched.add(progress)
        return {progress for progress in touched if progress.advance()}

    def close(self) -> None:
        """Commit and leave; see `Subscription`."""
        if self._identities:
            self._identities.stop()
        leaving = threading.Thread(target=self._leave, name="eventkit leaves a group", daemon=True)
        leaving.start()
        leaving.join(_CLOSE_TIMEOUT)
        if leaving.is_alive():
            logger.warning("group %s: leaving took too long; uncommitted messages are delivered again", self._group)

    def _begin(self, topics: Sequence[str]) -> None:
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _leave(self) -> None:
        for _ in range(_COMMIT_TRIES):
            if not self._due:
                break
            try:
                self._consumer.commit(offsets=_offsets(self._due), asynchronous=False)
                self._due = {}
            except KafkaException as error:  # the broker refuses commits during a rebalance
                logger.debug("group %s: the last commit failed: %s", self._group, error)
                time.sleep(_COMMIT_RETRY)
        self._consumer.close()

    def _commit(self, *, now: bool = False) -> None:
        clock = time.monotonic()
        if not self._due or (clock - self._committed < _COMMIT_INTERVAL and not now):
            return
        due, self._due, self._committed = self._due, {}, clock
        try:
            self._consumer.commit(offsets=_offsets(due), asynchronous=True)
        except KafkaException as error:
            logger.debug("group %s: a commit failed: %s", self._group, error)
            self._due = due

    def _messages(self, deliveries: list[Any]) -> list[Message]:  # Any: the client's types say None everywhere
        messages: list[Message] = []
        topic, partition, progress = "", -1, None
        for delivery in deliveries:
            if delivery.partition() != partition or delivery.topic() != topic:  # most follow one of their partition
                self._received_ends |= dict([message.tag for message in messages[-1:]])
                topic, partition = delivery.topic(), delivery.partition()
                progress = self._assigned.get((topic, partition))
            if (delivery.error() is not None and not self._is_message(delivery)) or progress is None:
                continue  # an error event, or a revoked partition
            tag = progress, delivery.offset()
            key, value, headers = delivery.key() or b"", delivery.value() or b"", None
            try:
                # Only one call: after an error, a second call returns freed memory.
                headers = _headers(delivery) or []
                text = key.decode()
                may_be_plain = text and value[:1] == b"{"  # a frame of a schema registry begins with another byte
                message = plain_message(topic, text, value, headers, tag) if may_be_plain else None
                messages.append(message or _message(topic, text, value, headers, tag))
            except (UnicodeDecodeError, SystemError):
                reason = "the name of a header is not UTF-8" if headers is None else "its key is not UTF-8"
                messages.append(unreadable(topic, reason, key=key, value=value, others=headers or [], tag=tag))
        self._received_ends |= dict([message.tag for message in messages[-1:]])
        return messages

    def _is_message(self, delivery: Delivery) -> bool:
        error = delivery.error()
        if error is not None:
            self._handle(error, delivery.topic())
        return error is None

    def _handle(self, error: KafkaError, topic: str | None) -> None:
        self._raise_error()  # without a place to resume at, the client reports that it has none, too
        reason = topic_reason(error)
        if reason is not None:
            raise TopicUnusable({topic or "of this subscription": reason})
        text = self._address.safe(error.str())
        if error.fatal() or error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise TransportUnavailable(f"group {self._group!r} cannot read from Kafka at {self._address.hosts}: {text}")
        logger.log(logging.WARNING if error.code() == KafkaError._MAX_POLL_EXCEEDED else logging.DEBUG, "%s", text)  # noqa: SLF001

    # --- called by the client, within poll and consume

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            starts = self._starts(consumer, partitions)
        except Exception as error:  # noqa: BLE001 the client drops exceptions of a callback, so `receive` raises it
            self._error, starts = error, {}
        for partition in partitions:
            (partition.offset,) = starts.get((partition.topic, partition.partition), (partition.offset,))
        consumer.incremental_assign(partitions)
        self._joined = time.monotonic()
        for partition in partitions:
            self._assigned[partition.topic, partition.partition] = PartitionProgress(partition.partition)

    def _starts(
        self, consumer: Consumer, partitions: list[TopicPartition]
    ) -> Mapping[tuple[str, int], tuple[int, ...]]:
        if self._places.resume is None:
            return {}
        ranges = {}
        for partition in partitions:
            low, high = consumer.get_watermark_offsets(partition, timeout=_OFFSETS_TIMEOUT)
            ranges[partition.topic, partition.partition] = (low,), (high,)
        return self._places.starts(ranges)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Commit refused offsets again later: the broker refuses commits during a rebalance."""
        for partition in partitions:
            place = (partition.topic, partition.partition)
            progress = self._assigned.get(place)
            if (error or partition.error) and progress is not None and progress.resume is not None:
                self._due[place] = progress.resume

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit(now=True)  # the coordinator gets it before the next request of this member
        self._forget(partitions)

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget(partitions)

    def _forget(self, partitions: list[TopicPartition]) -> None:
        gone = {(partition.topic, partition.partition) for partition in partitions}
        for place in gone:
            self._assigned.pop(place, None)
            self._due.pop(place, None)
        kept = set(self._assigned.values())
        self._received = [message for message in self._received if message.tag[0] in kept]
        self._fresh = [message for message in self._fresh if message.tag[0] in kept]
        self._ends = {progress: offset for progress, offset in self._ends.items() if progress in kept}
        ends = self._received_ends.items()
        self._received_ends = {progress: offset for progress, offset in ends if progress in kept}


def _message(topic: str, key: str, value: bytes, headers: list[tuple[str, Any]], tag: Any) -> Message:  # noqa: ANN401 the client's headers, our tag
    """Return a message with any headers; eventkit's own, in binary mode and without a frame, need two comparisons."""
    message = Message(topic, key, value, headers, tag)
    is_own = key and len(headers) > _TYPE_INDEX and headers[_TYPE_INDEX] == _JSON_TYPE
    return message if is_own and value[:1] == b"{" else opened(message)


def _offsets(due: dict[tuple[str, int], int]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in due.items()]


def _consumer(
    address: Address, state: BrokerState, given: Mapping[str, Any], *, on_commit: Callable[..., None]
) -> Consumer:
    settings = {
        **given,
        "enable_auto_commit": "false",
        "enable_auto_offset_store": "false",
        "check_crcs": "true",
        "partition_assignment_strategy": "cooperative-sticky",
        "allow_auto_create_topics": "false",
        "session_timeout_ms": 10_000,  # a killed member is replaced after this
        "heartbeat_interval_ms": 2_000,
        "fetch_queue_backoff_ms": 20,
        "topic_metadata_refresh_interval_ms": int(METADATA_AGE * 1000),
        # These bound the client's memory. Fetched data is compressed, to a hundredth of its size or less.
        "queued_max_messages_kbytes": 8_192,
        "fetch_message_max_bytes": 131_072,
        "fetch_max_bytes": _FETCH_BYTES,
    }
    try:
        properties = address.properties(state, **settings)
        # The client refuses a `fetch.max.bytes` below `message.max.bytes`, which limits only sent messages.
        largest = min(int(properties["fetch.max.bytes"]), _FETCH_BYTES)
        return Consumer({**properties, "message.max.bytes": largest, "on_commit": on_commit})
    except KafkaException as error:
        raise ConfigurationError(
            f"the Kafka client refuses its options: {address.safe(str(error.args[0].str()))}"
        ) from None
