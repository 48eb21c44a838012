"""Messages of each broker, read and written by the official CloudEvents SDK with the broker's own client."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pika
import pytest
import stomp
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import amqp, kafka, rabbitmq
from cloudevents.core.formats.json import JSONFormat
from confluent_kafka import Consumer, TopicPartition
from redis import Redis

from eventkit import EncodedEvent
from eventkit.domain.message import Message, event_of, message_of
from eventkit.transports import Transport, open_transport
from eventkit.transports.activemq.registry import topic_of
from eventkit.transports.rabbitmq.address import RabbitAddress
from eventkit.transports.rabbitmq.topology import exchange_of
from eventkit.transports.redis.topics import stream_key
from tests.hostile.conftest import Broker, broker
from tests.hostile.foreign import Foreign
from tests.transports.traffic import deliver, read

__all__ = ["broker"]

BROKERS = ("kafka", "rabbitmq", "redis", "activemq")
EVENT = EncodedEvent(
    id=str(uuid.UUID(int=7)), source="shop", stream="order-7", version=3, type="Placed", data=b'{"total":2.50}',
    time="2026-01-02T03:04:05.678901Z", correlation_id="c-1", extra='{"tenant":"t"}',
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate="vendor=opaque",
)  # fmt: skip
JSON = JSONFormat()


@pytest.fixture
def topic(broker: Broker) -> str:
    """A topic of the test's own, of one shard."""
    name = f"shop.c{uuid.uuid4().hex[:8]}"
    broker.transport.create_topics([name], partitions=1)
    return name


def sent(transport: Transport, topic: str) -> None:
    """Send the event."""
    publisher = transport.publisher(to_listeners=True)
    assert deliver(publisher, [message_of(EVENT, topic, tag=1)]).confirmed == [1]
    publisher.close(5)


@contextmanager
def taking(broker: Broker, topic: str) -> Iterator[Callable[[], BaseCloudEvent]]:
    """Read along by the broker's own client; yield a function that returns the next event as the SDK reads it."""
    with _TAKERS[broker.name](broker.url, topic) as take:
        yield take


@contextmanager
def _kafka(url: str, topic: str) -> Iterator[Callable[[], BaseCloudEvent]]:
    consumer = Consumer({"bootstrap.servers": urlsplit(url).netloc, "group.id": "x", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 0)])

    def take() -> BaseCloudEvent:
        found = consumer.poll(60)
        assert found is not None
        headers: Any = found.headers()
        return kafka.from_kafka(kafka.KafkaMessage(dict(headers), found.key(), found.value() or b""), JSON)

    yield take
    consumer.close()


@contextmanager
def _rabbitmq(url: str, topic: str) -> Iterator[Callable[[], BaseCloudEvent]]:
    connection = pika.BlockingConnection(RabbitAddress(url, {}).parameters())
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, exchange_of(topic, 0))

    def take() -> BaseCloudEvent:
        [(_, properties, body)] = [next(channel.consume(queue, auto_ack=True, inactivity_timeout=60))]
        assert properties is not None
        return amqp.from_amqp(
            amqp.AMQPMessage({"content-type": properties.content_type}, properties.headers or {}, body), JSON
        )

    yield take
    connection.close()


@contextmanager
def _redis(url: str, topic: str) -> Iterator[Callable[[], BaseCloudEvent]]:
    client = Redis.from_url(url)

    def take() -> BaseCloudEvent:
        entries: Any = client.xrange(stream_key(topic, 0))
        [(_, fields)] = entries
        headers = {name: value.encode() for name, value in json.loads(fields[b"headers"]).items()}
        return kafka.from_kafka(kafka.KafkaMessage(headers, fields[b"key"], fields[b"value"]), JSON)

    yield take
    client.close()


class Frames(stomp.ConnectionListener):  # type: ignore[misc]  # it has no types
    """Keeps the received frames."""

    def __init__(self) -> None:
        self.frames: list[Any] = []

    def on_message(self, frame: Any) -> None:  # noqa: ANN401 it has no types
        """Keep one."""
        self.frames.append(frame)


@contextmanager
def _activemq(url: str, topic: str) -> Iterator[Callable[[], BaseCloudEvent]]:
    parts, heard = urlsplit(url), Frames()
    client = stomp.Connection12([(parts.hostname, parts.port)], auto_decode=False)
    client.set_listener("", heard)
    client.connect(parts.username or "", parts.password or "", wait=True)
    client.subscribe(topic_of(topic, 0), id="1")

    def take() -> BaseCloudEvent:
        deadline = time.monotonic() + 60
        while not heard.frames and time.monotonic() < deadline:
            time.sleep(0.01)
        [frame] = heard.frames
        headers = {name: value.encode() for name, value in json.loads(frame.headers["eventkit-headers"]).items()}
        return kafka.from_kafka(kafka.KafkaMessage(headers, frame.headers["eventkit-key"], frame.body), JSON)

    yield take
    client.disconnect()


_TAKERS = {"kafka": _kafka, "rabbitmq": _rabbitmq, "redis": _redis, "activemq": _activemq}


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize("broker", BROKERS, indirect=True)
def test_the_sdk_reads_what_the_broker_has(broker: Broker, topic: str, mode: str) -> None:
    """All attributes and the data, in both content modes, from the broker's own message."""
    transport = open_transport(broker.url, {"format": mode})
    with taking(broker, topic) as take:
        sent(transport, topic)
        seen = take()
    transport.close()

    assert (seen.get_id(), seen.get_source(), seen.get_type()) == (EVENT.id, EVENT.source, EVENT.type)
    assert str(seen.get_extension("streamversion")) == "3"
    assert seen.get_extension("tracestate") == EVENT.tracestate
    assert seen.get_data() == {"total": 2.5}
    assert seen.get_datacontenttype() == "application/json"
    if mode == "structured" or broker.name == "rabbitmq":
        assert seen.get_subject() == EVENT.stream


def written(name: str, mode: str) -> list[Foreign]:
    """Return the event as the SDK writes it for a broker."""
    attributes = {
        "id": EVENT.id, "source": "shop", "type": "Placed", "time": "2026-01-02T03:04:05.678901Z",
        "subject": EVENT.stream, "streamversion": "3", "specversion": "1.0", "datacontenttype": "application/json",
        "traceparent": EVENT.traceparent, "tracestate": EVENT.tracestate, "correlationid": "c-1",
        "metadata": EVENT.extra,
    }  # fmt: skip
    event = kafka.from_structured(
        kafka.KafkaMessage({}, None, json.dumps({**attributes, "data": {"total": 2.5}}).encode()), JSON
    )
    if name == "rabbitmq":
        ones = [getattr(binding, f"to_{mode}")(event, JSON) for binding in (amqp, rabbitmq)]
        return [
            Foreign(value=ones[0].application_data, own=pika.BasicProperties(
                headers=ones[0].application_properties, content_type=ones[0].properties["content-type"])),
            Foreign(value=ones[1].body, own=pika.BasicProperties(
                headers=ones[1].headers, content_type=ones[1].content_type)),
        ]  # fmt: skip
    one = getattr(kafka, f"to_{mode}")(event, JSON)
    made = [Foreign(EVENT.stream.encode(), one.value, list(one.headers.items()))]
    if mode == "structured" and name != "redis":  # without a key, or with nothing of eventkit's
        own = {"content-type": one.headers["content-type"].decode(), "content-length": str(len(one.value))}
        made.append(Foreign(b"", one.value, list(one.headers.items()), own if name == "activemq" else None))
    return made


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize("broker", BROKERS, indirect=True)
def test_handlers_and_projections_read_what_the_sdk_writes(broker: Broker, topic: str, mode: str) -> None:
    """Written by the SDK and the broker's client, read as an event of eventkit, whole."""
    subscription = broker.transport.subscribe([topic], f"g{uuid.uuid4().hex[:8]}")
    messages = written(broker.name, mode)
    broker.send(topic, messages)

    found = read(subscription, len(messages))
    subscription.close()

    assert [each.unreadable for each in found] == [None] * len(messages)
    for each in found:
        back = event_of(each)
        assert (back.time[:19], json.loads(back.data)) == (EVENT.time[:19], {"total": 2.5})
        assert _same(back) == _same(EVENT)


def _same(event: EncodedEvent) -> tuple[object, ...]:
    return (
        event.id, event.source, event.stream, event.version, event.type, event.correlation_id, event.traceparent,
        event.tracestate, event.extra,
    )  # fmt: skip


@pytest.mark.parametrize("broker", ["local"], indirect=True)
def test_structured_mode_is_read_within_a_process(broker: Broker, topic: str) -> None:
    """The transport in this process passes the same contract."""
    subscription = broker.transport.subscribe([topic], "g")
    sent(open_transport(f"{broker.url}?format=structured"), topic)

    [message] = read(subscription, 1)

    assert isinstance(message, Message)
    assert event_of(message) == EVENT
