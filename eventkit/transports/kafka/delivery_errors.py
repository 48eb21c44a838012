"""Classifies failed deliveries: the event is refused, the topic is unusable, or the connection is lost (then retry).

An event is refused only for an error that the broker would repeat for the same event. A purged message, or one that
failed because of an earlier message, may be valid.
"""

from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import KafkaError

from eventkit.transports.base import Reports

_OF_EVENT = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.INVALID_RECORD,
    }
)
_UNKNOWN_TOPIC_ID = 100  # has no name in the oldest supported release of the client
_OF_TOPIC = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "this user may not write to it: grant WRITE and DESCRIBE",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "the broker does not know it: create it with `eventkit topics create`",
    KafkaError._UNKNOWN_TOPIC: "the broker does not know it: create it with `eventkit topics create`",  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION: "it has fewer partitions than before: it was deleted and created again",  # noqa: SLF001
    _UNKNOWN_TOPIC_ID: "it was deleted, or deleted and created again",
    KafkaError._AUTO_OFFSET_RESET: (  # noqa: SLF001
        "its next message is gone: retention deleted it, or the topic was created again; reading begins anew"
    ),
    KafkaError.POLICY_VIOLATION: "the broker's policy forbids it",
    KafkaError.TOPIC_EXCEPTION: "no topic can have this name",
}
_OF_ANOTHER = frozenset(
    {
        KafkaError._PURGE_QUEUE,  # noqa: SLF001
        KafkaError._PURGE_INFLIGHT,  # noqa: SLF001
        KafkaError._GAPLESS_GUARANTEE,  # noqa: SLF001
        KafkaError._FATAL,  # noqa: SLF001
    }
)


class DeliveryError(NamedTuple):
    """A message that was not delivered."""

    tag: int
    topic: str
    error: KafkaError


def is_permanent(failure: DeliveryError) -> bool:
    """Return whether the failure has a permanent cause, in the event or the topic."""
    return failure.error.code() in _OF_EVENT or failure.error.code() in _OF_TOPIC


def classify(failures: Iterable[DeliveryError], reports: Reports) -> None:
    """Add failures to the reports."""
    for tag, topic, error in failures:
        code = error.code()
        if code in _OF_EVENT:
            reports.refused[tag] = error.str()
        elif code in _OF_TOPIC:
            reports.held[topic] = topic_reason(error) or error.str()
        elif reports.lost is None:
            reports.lost = _another(topic) if code in _OF_ANOTHER else f"a message to topic {topic!r}: {error.str()}"


def topic_reason(error: KafkaError) -> str | None:
    """Return the reason for which a topic is unusable; None for an error of another kind."""
    reason = _OF_TOPIC.get(error.code())
    return reason and f"{reason} ({error.str()})"


def _another(topic: str) -> str:
    return f"messages to topic {topic!r} were discarded after the failure of another message"
