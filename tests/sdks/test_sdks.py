"""The official SDKs of JavaScript, Go and Java read our messages in both modes, and a subscription reads theirs.

Each has CloudEvents' binding for Kafka. `make test` fetches those that this machine has the tools for, and
`python -m tests.sdks` fetches all and runs these tests.
"""

import base64
import json
import uuid
from typing import Any

import pytest

from eventkit import EncodedEvent
from eventkit.domain.message import Message, event_of, message_of
from eventkit.domain.structured import structured
from tests.hostile.conftest import Broker, broker
from tests.hostile.foreign import Foreign
from tests.sdks.programs import SDKS, answers
from tests.transports.test_cloud_events import EVENT
from tests.transports.traffic import read

__all__ = ["broker"]

PLAIN = EncodedEvent(
    id="018f0000-0000-7000-8000-00000000000a", source="shop", stream="order-é", version=2**31 - 2, type="Wide",
    data='{"name":"Zoë","price":1e3,"list":[]}', time="2026-12-31T23:59:59.000001Z", schema_version=4,
)  # fmt: skip


def sent(message: Message) -> str:
    """Return a message for a program's input."""
    headers = {name: value if isinstance(value, str) else value.decode() for name, value in message.headers}
    value = message.value.encode() if isinstance(message.value, str) else message.value
    return json.dumps({"headers": headers, "value": base64.b64encode(value).decode()})


def written(message: dict[str, Any], key: str) -> Foreign:
    """Return a program's message for a broker."""
    headers = [(name, value.encode()) for name, value in message["headers"].items()]
    return Foreign(key.encode(), base64.b64decode(message["value"]), headers)


def same(event: EncodedEvent) -> tuple[object, ...]:
    """Return all of an event but the form of its time and data."""
    fields = ("id", "source", "stream", "version", "type", "schema_version", "correlation_id", "traceparent")
    named = [getattr(event, name) for name in (*fields, "tracestate", "extra")]
    return (*named, event.time[:19], json.dumps(json.loads(event.data), sort_keys=True).replace("1000.0", "1000"))


@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
@pytest.mark.parametrize("language", SDKS)
def test_an_sdk_reads_our_messages_and_we_read_its(language: str, broker: Broker) -> None:
    """Binary and structured, each read by the SDK, then written by it in both modes, and read from a real broker."""
    events = [EVENT, EVENT, PLAIN, PLAIN]
    messages = [message_of(event, "shop.order") for event in events]
    messages[1::2] = [structured(message) for message in messages[1::2]]
    topic = f"shop.s{uuid.uuid4().hex[:8]}"
    broker.transport.create_topics([topic], partitions=1)

    found = [json.loads(line) for line in answers(language, [sent(message) for message in messages])]

    assert len(found) == len(events)
    theirs: list[Foreign] = []
    for place, (event, seen) in enumerate(zip(events, found, strict=True)):
        attributes, is_structured = seen["attributes"], place % 2
        assert [attributes[name] for name in ("id", "source", "type")] == [event.id, event.source, event.type]
        assert str(attributes["streamversion"]) == str(event.version)
        assert attributes.get("tracestate") == event.tracestate
        if is_structured:
            assert attributes["subject"] == event.stream
        theirs += [written(seen[mode], "" if is_structured else event.stream) for mode in ("binary", "structured")]
    broker.send(topic, theirs)
    subscription = broker.transport.subscribe([topic], "g")
    back = [event_of(message) for message in read(subscription, len(theirs))]
    subscription.close()
    assert [same(event) for event in back] == [same(event) for event in events for _ in ("binary", "structured")]
