"""A foreign program that writes to our topics, on each broker, by the broker's own client."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pika
from confluent_kafka import Producer
from redis import Redis

from eventkit.domain.message import Message
from eventkit.transports import open_transport
from eventkit.transports.activemq.address import ActiveAddress
from eventkit.transports.activemq.connection import Connection
from eventkit.transports.activemq.publisher import HEADERS
from eventkit.transports.activemq.publisher import KEY as STOMP_KEY
from eventkit.transports.activemq.registry import topic_of
from eventkit.transports.local import LocalTransport
from eventkit.transports.rabbitmq.address import RabbitAddress
from eventkit.transports.rabbitmq.topology import KEY as AMQP_KEY
from eventkit.transports.rabbitmq.topology import exchange_of
from eventkit.transports.redis.topics import stream_key

_LONGEST = 9_000  # characters of a frame's headers
BROKERS = ("local", "kafka", "rabbitmq", "redis", "activemq")


class Foreign(NamedTuple):
    """A stranger's message: in our form, or with parts of the broker's own in its place."""

    key: Any = b""
    value: Any = b""
    headers: Sequence[tuple[str, Any]] = ()
    own: Any = None  # Redis: an entry's fields; ActiveMQ: a frame's headers; RabbitMQ: BasicProperties


Send = Callable[[str, Sequence[Foreign]], None]


def sender(url: str) -> Send:
    """Return a function that sends to the only shard of a topic at a broker."""
    kind: dict[str, Callable[[str], Send]] = {
        "kafka": _kafka, "redis": _redis, "rabbitmq": _rabbitmq, "activemq": _activemq, "local": _local
    }  # fmt: skip
    return kind[urlsplit(url).scheme](url)


def _local(url: str) -> Send:
    transport = open_transport(url)
    assert isinstance(transport, LocalTransport)

    def send(topic: str, messages: Sequence[Foreign]) -> None:
        with transport._broker.changed:
            for each in messages:
                transport._broker.append(Message(topic, each.key, each.value, list(each.headers)))
            transport._broker.changed.notify_all()

    return send


def _kafka(url: str) -> Send:
    producer = Producer({"bootstrap.servers": urlsplit(url).netloc})

    def send(topic: str, messages: Sequence[Foreign]) -> None:
        for each in messages:
            producer.produce(topic, key=each.key, value=each.value, headers=list(each.headers), partition=0)
        assert not producer.flush(30)

    return send


def _redis(url: str) -> Send:
    client = Redis.from_url(url)

    def send(topic: str, messages: Sequence[Foreign]) -> None:
        pipeline = client.pipeline(transaction=False)
        for each in messages:
            ours: dict[Any, Any] = {
                "key": each.key or b"",
                "value": each.value or b"",
                "headers": json.dumps(_texts(each.headers)),
            }
            pipeline.xadd(stream_key(topic, 0), each.own or ours)
        pipeline.execute()

    return send


def _rabbitmq(url: str) -> Send:
    def send(topic: str, messages: Sequence[Foreign]) -> None:
        connection = pika.BlockingConnection(RabbitAddress(url, {}).parameters())
        channel = connection.channel()
        channel.confirm_delivery()  # a quorum queue may lose unconfirmed messages
        for each in messages:
            table = {AMQP_KEY: _text(each.key), **dict(each.headers)}
            properties = each.own or pika.BasicProperties(headers=table)
            channel.basic_publish(exchange_of(topic, 0), "", _bytes(each.value), properties)
        connection.close()

    return send


def _activemq(url: str) -> Send:
    def send(topic: str, messages: Sequence[Foreign]) -> None:
        connection = Connection(ActiveAddress(url, {}))
        for each in messages:
            body = _bytes(each.value)
            ours = {"content-length": str(len(body)), STOMP_KEY: _text(each.key).replace("\0", "")}
            ours[HEADERS] = json.dumps(_texts(each.headers))
            frame: Mapping[str, str] = ours if each.own is None else each.own
            if sum(map(len, frame.values())) < _LONGEST:  # else the broker refuses it, with the connection
                connection.send("SEND", {"destination": topic_of(topic, 0), **frame}, body)
        connection.wait(connection.send("SEND", {"destination": "/topic/nobody", "content-length": "0"}, receipt=True))
        connection.close()

    return send


def _texts(headers: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {name: _text(value) if isinstance(value, bytes) else value for name, value in headers}


def _text(part: Any) -> Any:  # noqa: ANN401 a part of any type
    return part.decode(errors="replace") if isinstance(part, bytes) else part


def _bytes(part: Any) -> bytes:  # noqa: ANN401
    return part if isinstance(part, bytes) else str(part or "").encode()
