"""The official SDKs of JavaScript, Go and Java read our messages in both modes, and we read theirs.

`make test` fetches the one for JavaScript. `python -m tests.sdks` fetches all, and runs these tests; Go and Java are
skipped where they were not fetched.
"""

import base64
import json
from typing import Any

import pytest

from eventkit import EncodedEvent
from eventkit.domain.message import Message, event_of, message_of
from eventkit.domain.structured import opened, structured
from tests.sdks.programs import VERSIONS, answers, folder
from tests.transports.test_cloud_events import EVENT

PLAIN = EncodedEvent(
    id="018f0000-0000-7000-8000-00000000000a", source="shop", stream="order-é", version=2**31 - 2, type="Wide",
    data='{"name":"Zoë","price":1e3,"list":[]}', time="2026-12-31T23:59:59.000001Z", schema_version=4,
)  # fmt: skip


def sent(message: Message) -> str:
    """Return a message for a program's input."""
    headers = {name: value if isinstance(value, str) else value.decode() for name, value in message.headers}
    value = message.value.encode() if isinstance(message.value, str) else message.value
    return json.dumps({"headers": headers, "value": base64.b64encode(value).decode()})


def received(message: dict[str, Any], key: str) -> EncodedEvent:
    """Return the event of a program's message, as a transport reads it."""
    value = base64.b64decode(message["value"])
    return event_of(opened(Message("shop.order", key, value, list(message["headers"].items()))))


def same(event: EncodedEvent) -> tuple[object, ...]:
    """Return all of an event but the form of its time and data."""
    fields = ("id", "source", "stream", "version", "type", "schema_version", "correlation_id", "traceparent")
    named = [getattr(event, name) for name in (*fields, "tracestate", "extra")]
    return (*named, event.time[:19], json.dumps(json.loads(event.data), sort_keys=True).replace("1000.0", "1000"))


@pytest.mark.parametrize("language", VERSIONS)
def test_an_sdk_reads_our_messages_and_we_read_its(language: str) -> None:
    """Binary and structured, each read by the SDK, then written by it in both modes."""
    if language != "javascript" and not (folder(language) / "complete").exists():
        pytest.skip(f"CloudEvents' SDK for {language} is not here: `python -m tests.sdks {language}` fetches it")
    events = [EVENT, EVENT, PLAIN, PLAIN]
    messages = [message_of(event, "shop.order") for event in events]
    messages[1::2] = [structured(message) for message in messages[1::2]]

    found = [json.loads(line) for line in answers(language, [sent(message) for message in messages])]

    assert len(found) == len(events)
    for place, (event, seen) in enumerate(zip(events, found, strict=True)):
        attributes = seen["attributes"]
        assert [attributes[name] for name in ("id", "source", "type")] == [event.id, event.source, event.type]
        assert str(attributes["streamversion"]) == str(event.version)
        if place % 2:
            assert attributes["subject"] == event.stream
        for mode in ("binary", "structured"):
            assert same(received(seen[mode], "" if place % 2 else event.stream)) == same(event)
