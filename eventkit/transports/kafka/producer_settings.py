"""The settings of a producer: idempotent, gapless, durable, and without a time limit for a message.

librdkafka's own time limit makes holes (1, 4, 5 of 1 to 5), so it is off; the publisher's watchdog ends the producer
instead. Batches stay below the topic's limit, so that a refused batch is one event.
"""

from typing import Any

from confluent_kafka import KafkaException, Producer

from eventkit.errors import ConfigurationError
from eventkit.transports.kafka.address import Address
from eventkit.transports.kafka.broker_state import BrokerState

QUEUE = 100_000  # messages queued and not reported
USUAL_LIMIT = 1_048_588  # Kafka's default of max.message.bytes
_QUEUE_KB = 131_072
_LINGER = 20  # milliseconds in which a large send fills batches; the publisher flushes a small send at once
_BATCH = 1_000_000  # bytes; librdkafka's default
_SAFE_BATCH = 100_000  # bytes, for an unknown limit
_BATCH_SHARE = 0.9  # of the limit: a batch of two events is never refused for its size
_PROMISES: dict[str, Any] = {
    "enable_idempotence": "true",
    "acks": "all",
    "enable_gapless_guarantee": "true",
    "message_timeout_ms": 0,
    "max_in_flight": 5,
    "allow_auto_create_topics": "false",
    "linger_ms": _LINGER,
    "queue_buffering_max_messages": QUEUE,
    "queue_buffering_max_kbytes": _QUEUE_KB,
}


def producer_properties(address: Address, state: BrokerState, limit: int | None) -> dict[str, Any]:
    """Return the properties of a producer for topics with this `max.message.bytes`, None for an unknown one."""
    if limit is None:
        sizes = {"batch_size": _SAFE_BATCH}
    else:
        sizes = {"batch_size": max(1, min(_BATCH, int(limit * _BATCH_SHARE))), "message_max_bytes": max(1_000, limit)}
    return address.properties(state, **_PROMISES, **sizes)


def make_producer(address: Address, state: BrokerState, limit: int | None) -> Producer:
    """Return a producer with these properties; ConfigurationError when librdkafka refuses an option."""
    try:
        return Producer(producer_properties(address, state, limit))
    except KafkaException as error:
        raise ConfigurationError(
            f"the Kafka client refuses its options: {address.safe(str(error.args[0].str()))}"
        ) from None
