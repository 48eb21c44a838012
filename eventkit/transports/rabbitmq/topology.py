"""Exchanges and queues: a shard of a topic is a durable fanout exchange, and each group has a quorum queue on it.

Passive declarations find out which exchanges exist; the shards of a topic are numbered from 0 without a gap.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker, NackError

from eventkit.errors import TopicUnusable, TransportError, TransportUnavailable
from eventkit.transports.base import Finding
from eventkit.transports.rabbitmq.address import RabbitAddress

KEY = "eventkit-key"  # the header with the key of a message whose subject is another
MISSING = "RabbitMQ does not have it: create it with `eventkit topics create`"
NOT_FOUND, REFUSED, PRECONDITION_FAILED = 404, 403, 406
OLDEST = (3, 10)
# Seconds after which a new quorum queue is on the server's disk. A kill before that makes 3.10 forget the queue's name,
# and with it the confirmed messages (seen up to 0.6 s after the declaration).
NOTED = 2.0
_UNLIMITED = (4, 0)  # from this release on, a delivery limit of -1 means none, and the default is 20
_DROPS = (
    "queue {queue} was declared with other arguments, as by another release, and may drop messages that are delivered "
    "too often: wait until it is empty, delete it, and subscribe again ({reason})"
)


def exchange_of(topic: str, shard: int) -> str:
    """Return the exchange of a shard."""
    return f"{topic}.{shard}"


def queue_of(topic: str, shard: int, group: str) -> str:
    """Return a group's queue of a shard."""
    return f"{topic}.{shard}/{group}"


def _claim_of(topic: str) -> str:
    return f"eventkit.claim.{topic}"


def members_of(group: str) -> str:
    """Return the queue whose consumers are the members of a group; it stays empty."""
    return f"{group}.members"


class Topology:
    """Reads and declares exchanges and queues, on a new connection for each call."""

    def __init__(self, address: RabbitAddress) -> None:
        self._address = address

    def require(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many shards each topic has; TopicUnusable when one is missing."""
        with self._connection() as connection:
            found = {topic: _shards(connection, topic) for topic in topics}
        missing = {topic: MISSING for topic, shards in found.items() if not shards}
        if missing:
            raise TopicUnusable(missing)
        return found

    def create(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create the missing topics, each from its last shard to its first: one with a first shard is complete."""
        with self._connection() as connection:
            missing = [topic for topic in dict.fromkeys(topics) if not _shards(connection, topic)]
            channel = connection.channel()
            for topic in missing:
                for shard in reversed(range(partitions)):
                    channel.exchange_declare(exchange_of(topic, shard), "fanout", durable=True)
        return missing

    def join(self, shards: Mapping[str, int], group: str) -> bool:
        """Declare a group's queues; return whether one was missing. TopicUnusable when one may drop messages."""
        queues = [(topic, shard) for topic, count in shards.items() for shard in range(count)]
        with self._connection() as connection:
            missing = [place for place in queues if not _has_queue(connection, queue_of(*place, group))]
            arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-single-active-consumer": True}
            if _version(connection) >= _UNLIMITED:
                arguments["x-delivery-limit"] = -1
            channel = connection.channel()
            for topic, shard in queues:
                queue = queue_of(topic, shard, group)
                try:
                    channel.queue_declare(queue, durable=True, arguments=arguments)
                    channel.queue_bind(queue, exchange_of(topic, shard))
                except ChannelClosedByBroker as error:
                    if error.reply_code != PRECONDITION_FAILED:
                        raise
                    raise TopicUnusable({topic: _DROPS.format(queue=queue, reason=error.reply_text)}) from error
        if missing:
            time.sleep(NOTED)
        return bool(missing)

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim unclaimed topics; return the owner of each topic that exists."""
        with self._connection() as connection:
            return {topic: _claim(connection, topic, owner) for topic in topics if _shards(connection, topic)}

    def release(self, topic: str) -> None:
        """Delete the queue with a topic's claim."""
        with self._connection() as connection:
            connection.channel().queue_delete(_claim_of(topic))

    def forget(self, topics: Sequence[str], group: str) -> None:
        """Delete a group's queues; TransportError when one has a consumer."""
        with self._connection() as connection:
            shards = [(topic, shard) for topic in topics for shard in range(_shards(connection, topic))]
            queues = [queue_of(topic, shard, group) for topic, shard in shards]
            used = [queue for queue in queues if _consumers(connection, queue)]
            if used:
                raise TransportError(f"group {group!r} has members, which consume from {used[0]!r}")
            for queue in queues:
                connection.channel().queue_delete(queue)

    def version(self) -> str:
        """Return the server's release."""
        with self._connection() as connection:
            return _release(connection)

    def findings(self) -> list[Finding]:
        """Return whether confirmed messages are safe with this release."""
        with self._connection() as connection:
            release, known = _release(connection), _version(connection)
        return [
            Finding(
                "release",
                release,
                ".".join(map(str, OLDEST)) + " or later",
                safe=known >= OLDEST,
                reason="eventkit was not tested on the quorum queues of this release: upgrade RabbitMQ",
            ),
            Finding(
                "delivery limit",
                "none, declared by eventkit as this release wants it",
                "none",
                safe=True,
                reason="a queue that drops messages which were delivered too often loses events",
            ),
        ]

    @contextmanager
    def _connection(self) -> Iterator[pika.BlockingConnection]:
        with rabbit_errors(self._address):
            connection = pika.BlockingConnection(self._address.parameters())
            try:
                yield connection
            finally:
                if connection.is_open:
                    connection.close()


@contextmanager
def rabbit_errors(address: RabbitAddress) -> Iterator[None]:
    """Turn the client's errors into eventkit's. A refusal counts as unavailable, so a running process retries."""
    try:
        yield
    except ChannelClosedByBroker as error:
        raise TransportUnavailable(f"RabbitMQ at {address.hosts} refuses: {address.safe(error.reply_text)}") from error
    except (AMQPError, OSError) as error:
        text = address.safe(_words(error)) or type(error).__name__
        raise TransportUnavailable(f"no connection to RabbitMQ at {address.hosts}: {text}") from error


def _words(error: BaseException) -> str:
    """Return an error's text; some of pika's errors have none and wrap an error of the system."""
    inner = (*error.args, getattr(error, "exception", None))
    return str(error) or next((_words(item) for item in inner if isinstance(item, BaseException)), "")


def _shards(connection: pika.BlockingConnection, topic: str) -> int:
    channel, shard = connection.channel(), 0
    while True:
        try:
            channel.exchange_declare(exchange_of(topic, shard), passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code != NOT_FOUND:
                raise
            return shard
        shard += 1


def _has_queue(connection: pika.BlockingConnection, queue: str) -> bool:
    return _consumers(connection, queue) is not None


def _claim(connection: pika.BlockingConnection, topic: str, owner: str) -> str:
    """Put the owner into a queue that accepts a single message; return the owner that is in the queue."""
    channel, queue = connection.channel(), _claim_of(topic)
    channel.confirm_delivery()
    channel.queue_declare(queue, durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    method, _, body = channel.basic_get(queue)
    if method is None:
        with suppress(NackError):  # another relay was faster
            channel.basic_publish("", queue, owner.encode(), pika.BasicProperties(delivery_mode=2))
        method, _, body = channel.basic_get(queue)
    if method is None or body is None:  # another relay reads it at this moment
        return owner
    channel.basic_nack(method.delivery_tag, requeue=True)
    return str(body.decode())


def _consumers(connection: pika.BlockingConnection, queue: str) -> int | None:
    """Return a queue's number of consumers, None for a missing queue; it may count the active consumer alone."""
    try:
        declared = connection.channel().queue_declare(queue, passive=True)
    except ChannelClosedByBroker as error:
        if error.reply_code != NOT_FOUND:
            raise
        return None
    return int(declared.method.consumer_count)


def _release(connection: pika.BlockingConnection) -> str:
    properties: Any = connection._impl.server_properties  # noqa: SLF001 pika has no other way to it
    return str(properties.get("version", "0"))


def _version(connection: pika.BlockingConnection) -> tuple[int, ...]:
    numbers = _release(connection).split("-")[0].split(".")[:2]
    return tuple(int(number) for number in numbers if number.isdigit())
