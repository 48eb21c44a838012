"""Asks the broker about topics (partitions, identity, size limit), and creates missing topics.

A topic's first description stays valid for the process. A new number of partitions would move keys, and a recreated
topic is empty, so such a topic is unusable until the process is restarted. The size limit is always the current one:
an operator raises it for a refused event. Brokers without an admin API (the embedded one) report the partitions only.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from eventkit.errors import TopicUnusable, TransportError, TransportUnavailable
from eventkit.forks import never_free, reset_in_fork
from eventkit.transports.kafka.address import Address
from eventkit.transports.kafka.broker_state import BrokerState
from eventkit.transports.kafka.claims import GROUP as CLAIMS
from eventkit.transports.kafka.delivery_errors import topic_reason

_REQUEST_TIMEOUT = 5.0  # seconds
_LOGIN_CHECK_INTERVAL = 0.5  # seconds between two checks whether the brokers refuse the login
_CREATION_TIMEOUT = 15.0  # seconds
_RETRY_DELAY = 0.02  # seconds
_MAX_GROUPS = 200  # groups whose offsets are read: each takes a request


class Topic(NamedTuple):
    """A topic as this process first saw it, with its current size limit."""

    name: str
    partitions: int
    id: str | None  # None if the broker does not report it
    max_bytes: int | None  # max.message.bytes, None if the broker does not report it


REPLICAS = "replication.factor"  # listed with a topic's settings, though Kafka does not count it as one


class TopicAnswer(Protocol):
    """A future of the client."""

    def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401 the client's answers have many types
        """Wait for the answer."""


class KafkaTopics:
    """Questions about topics; safe to use from several threads."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._state = BrokerState(address, warn=False)
        self._lock = threading.Lock()
        self._client: AdminClient | None = None
        self._first: dict[str, Topic] = {}
        self._has_admin_api: bool | None = None
        self.offsets_retention: str | None = None  # minutes, if the broker reports it
        reset_in_fork(self)

    def forked(self) -> None:
        """Make a new client for this process at the next request."""
        never_free(self._client)
        self._client, self._lock = None, threading.Lock()

    def look_up(self, names: Iterable[str]) -> dict[str, Topic | str]:
        """Return each topic, or the reason why it is unusable; TransportUnavailable when no broker answers."""
        return {name: self._compare(answer) for name, answer in self._answers(names).items()}

    def limits(self) -> set[int | None]:
        """Return the size limits of the topics looked up so far."""
        return {topic.max_bytes for topic in tuple(self._first.values())}

    def require(self, names: Iterable[str]) -> list[Topic]:
        """Return the topics as they are now; TopicUnusable when one cannot be read."""
        answers = self._answers(names)
        reasons = {name: answer for name, answer in answers.items() if isinstance(answer, str)}
        if reasons:
            raise TopicUnusable(reasons)
        return [answer for answer in answers.values() if isinstance(answer, Topic)]

    def create(self, names: Sequence[str], *, partitions: int) -> list[str]:
        """Create the missing topics, wait until the broker knows them, and return their names."""
        with self._lock:
            try:
                known = self._admin().list_topics(timeout=_REQUEST_TIMEOUT).topics
                missing = [
                    NewTopic(name, num_partitions=partitions) for name in dict.fromkeys(names) if name not in known
                ]
                created = self._create(missing)
                self._await(created)
            except KafkaException as error:
                raise self._unavailable(error) from None
        return created

    def _create(self, missing: list[NewTopic]) -> list[str]:
        if not missing or not self._knows_admin_api():
            return [topic.topic for topic in missing]  # such a broker creates a topic when it is asked about it
        futures = self._admin().create_topics(missing)
        return [name for name, future in futures.items() if _created(name, future)]

    def _await(self, names: Sequence[str]) -> None:
        """Wait until the topics are visible: the controller confirms a topic before every broker knows it."""
        deadline = time.monotonic() + _CREATION_TIMEOUT
        while any(isinstance(answer, str) for answer in self._ask(list(names)).values()):
            if time.monotonic() > deadline:
                raise TopicUnusable(dict.fromkeys(names, f"created, but not visible within {_CREATION_TIMEOUT:g} s"))
            time.sleep(_RETRY_DELAY)

    def groups(self, topics: Sequence[str]) -> list[str]:
        """Return the groups that have an offset in a topic's first partition; none without an admin API."""
        with self._lock:
            try:
                if not self._knows_admin_api() or not topics:
                    return []
                listed = self._admin().list_consumer_groups(request_timeout=_REQUEST_TIMEOUT).result()
                names = sorted(group.group_id for group in listed.valid if group.group_id != CLAIMS)[:_MAX_GROUPS]
                return [name for name in names if self._has_offset(name, topics)]
            except KafkaException as error:
                raise self._unavailable(error) from None

    def _has_offset(self, group: str, topics: Sequence[str]) -> bool:
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0) for topic in topics])
        answer = self._admin().list_consumer_group_offsets([asked], request_timeout=_REQUEST_TIMEOUT)[group]
        try:
            return any(place.offset >= 0 for place in answer.result().topic_partitions)
        except KafkaException as error:
            if _code(error) < 0:  # the client's own error: no broker answered
                raise
            return True  # this user may not read its offsets

    def forget(self, group: str) -> None:
        """Delete a group; a missing group is no error. Without an admin API nothing is deleted."""
        with self._lock:
            try:
                if self._knows_admin_api():
                    self._admin().delete_consumer_groups([group], request_timeout=_REQUEST_TIMEOUT)[group].result()
            except KafkaException as error:
                if _code(error) < 0:  # the client's own error: no broker answered
                    raise self._unavailable(error) from None
                if _code(error) != KafkaError.GROUP_ID_NOT_FOUND:
                    raise TransportError(f"group {group!r} cannot be deleted: {error.args[0].str()}") from None

    def describe_cluster(self) -> str:
        """Return the number of brokers as text; TransportUnavailable when none answers."""
        deadline = time.monotonic() + _REQUEST_TIMEOUT
        with self._lock:
            while True:
                try:
                    brokers = self._admin().list_topics(timeout=_LOGIN_CHECK_INTERVAL).brokers
                except KafkaException as error:
                    self._admin().poll(0)  # calls BrokerState
                    if self._state.refused or time.monotonic() > deadline:
                        raise self._unavailable(error) from None
                else:
                    return f"{len(brokers)} broker{'s' if len(brokers) > 1 else ''}"

    def _unavailable(self, error: KafkaException) -> TransportUnavailable:
        return unavailable(self._address, self._state, self._admin(), error)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._client = None

    def _admin(self) -> AdminClient:
        if self._client is None:
            self._client = AdminClient(self._address.properties(self._state))
        return self._client

    def _answers(self, names: Iterable[str]) -> dict[str, Topic | str]:
        with self._lock:
            try:
                return self._ask(list(dict.fromkeys(names)))
            except KafkaException as error:
                raise self._unavailable(error) from None

    def _compare(self, found: Topic | str) -> Topic | str:
        if isinstance(found, str):
            return found
        first = self._first.setdefault(found.name, found)
        if found.partitions != first.partitions:
            return (
                f"it has {found.partitions} partitions and had {first.partitions} when this process first used it: "
                "keys would move and streams lose their order; wait until its readers have caught up, then restart "
                "this process"
            )
        if found.id != first.id and None not in (found.id, first.id):
            return (
                "it was deleted and created again, so messages that it confirmed before may be gone; "
                "check which ones its readers have, then restart this process"
            )
        return first if found.max_bytes is None else first._replace(max_bytes=found.max_bytes)

    def _ask(self, names: list[str]) -> dict[str, Topic | str]:
        if not names:
            return {}
        if not self._knows_admin_api():
            return {name: self._partitions_of(name) for name in names}
        described = self._admin().describe_topics(TopicCollection(names), request_timeout=_REQUEST_TIMEOUT)
        answers = {name: _described(name, future) for name, future in described.items()}
        known = [name for name, answer in answers.items() if isinstance(answer, Topic)]
        limits = {name: found.get("max.message.bytes") for name, found in self._settings(known).items()}
        return {
            name: answer._replace(max_bytes=_number(limits.get(name))) if isinstance(answer, Topic) else answer
            for name, answer in answers.items()
        }

    def _knows_admin_api(self) -> bool:
        """Ask one broker for its settings: the embedded one answers that it does not know this request."""
        if self._has_admin_api is None:
            broker = next(iter(self._admin().list_topics(timeout=_REQUEST_TIMEOUT).brokers))
            resource = ConfigResource(ResourceType.BROKER, str(broker))
            try:
                found = self._admin().describe_configs([resource], request_timeout=_REQUEST_TIMEOUT)[resource].result()
                self.offsets_retention = found["offsets.retention.minutes"].value
            except KafkaException as error:
                if _code(error) in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):  # noqa: SLF001
                    raise
                self._has_admin_api = _code(error) != KafkaError._UNSUPPORTED_FEATURE  # noqa: SLF001
            else:
                self._has_admin_api = True
        return self._has_admin_api

    def _partitions_of(self, name: str) -> Topic | str:
        metadata = self._admin().list_topics(name, timeout=_REQUEST_TIMEOUT).topics[name]
        if metadata.error is not None:
            return topic_reason(metadata.error) or str(metadata.error.str())
        return Topic(name, len(metadata.partitions), None, None)

    def settings(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return the settings of each topic, as far as the broker reports them, and its number of replicas."""
        with self._lock:
            try:
                if not self._knows_admin_api() or not names:
                    return {}
                known = self._admin().list_topics(timeout=_REQUEST_TIMEOUT).topics
                found = self._settings([name for name in names if name in known])
                return {name: {**found[name], REPLICAS: _replicas(known[name])} for name in found}
            except KafkaException as error:
                raise self._unavailable(error) from None

    def _settings(self, names: list[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._admin().describe_configs(resources, request_timeout=_REQUEST_TIMEOUT)
        return {resource.name: _entries(future) for resource, future in answers.items()}


def unavailable(address: Address, state: BrokerState, client: Any, error: KafkaException) -> TransportUnavailable:  # noqa: ANN401 producers, consumers and admins share no type
    """Return the error with the reason why no broker answered; BrokerState knows more than "timed out"."""
    client.poll(0)
    reason = state.reason or address.safe(error.args[0].str())
    return TransportUnavailable(
        f"Kafka at {address.hosts} does not answer: {reason}; "
        "is it running, and are EVENTKIT_TRANSPORT_URL and its options right?"
    )


def _described(name: str, future: TopicAnswer) -> Topic | str:
    try:
        description = future.result()
    except KafkaException as error:
        reason = topic_reason(error.args[0])
        if reason is None:
            raise
        return reason
    return Topic(name, len(description.partitions), str(description.topic_id), None)


def _entries(future: TopicAnswer) -> dict[str, str]:
    try:
        return {name: str(entry.value) for name, entry in future.result().items()}
    except KafkaException:
        return {}  # this user may not read them


def _replicas(metadata: Any) -> str:  # noqa: ANN401 the client's own
    """Return the number of replicas of the partition with the fewest."""
    return str(min((len(each.replicas) for each in metadata.partitions.values()), default=0))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _created(name: str, future: TopicAnswer) -> bool:
    try:
        future.result(_CREATION_TIMEOUT)
    except TimeoutError:
        raise TopicUnusable({name: f"the broker did not confirm its creation within {_CREATION_TIMEOUT:g} s"}) from None
    except KafkaException as error:
        if _code(error) == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise TopicUnusable({name: f"it cannot be created: {error.args[0].str()}"}) from None
    return True


def _code(error: KafkaException) -> int:
    return int(error.args[0].code())
