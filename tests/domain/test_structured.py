"""CloudEvents' structured mode, judged by the official SDK; and attributes that are not believed."""

import msgspec
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given

from eventkit import EncodedEvent, UndecodableEvent
from eventkit.domain.message import Message, event_of, message_of
from eventkit.domain.structured import STRUCTURED_TYPE, opened, structured
from tests.domain.test_message import an_event, events

PLAIN = {
    "specversion": "1.0", "id": "1", "source": "shop", "type": "Placed", "time": "2026-01-01T00:00:00Z",
    "streamversion": 1, "data": {"a": 1},
}  # fmt: skip


def received(fields: object, *, key: str = "order-1", content_type: str = STRUCTURED_TYPE) -> Message:
    """Return a foreign message as a transport opens it."""
    value = fields if isinstance(fields, bytes) else msgspec.json.encode(fields)
    return opened(Message("shop.order", key, value, [("content-type", content_type.encode())]))


@given(events)
def test_an_event_comes_back_from_structured_mode(event: EncodedEvent) -> None:
    """Nothing is lost, and the order of the headers is that of binary mode, where it is read fast."""
    sent = message_of(event, "shop.order", tag=7)

    back = opened(structured(sent))

    assert (back.key, back.topic, back.tag, back.value) == (sent.key, sent.topic, 7, sent.value)
    assert back.headers[:7] == sent.headers[:7]
    assert event_of(back) == event


@given(events)
def test_the_sdk_reads_our_structured_messages(event: EncodedEvent) -> None:
    """One header, and the whole event in the value; the stream is the subject, for readers without Kafka's key."""
    sent = structured(message_of(event, "shop.order"))
    headers = {name: value.encode() if isinstance(value, str) else value for name, value in sent.headers}
    value = sent.value if isinstance(sent.value, bytes) else sent.value.encode()

    seen = from_structured(KafkaMessage(headers, None, value), JSONFormat(), CloudEvent)

    assert list(headers) == ["content-type"]
    assert (seen.get_id(), seen.get_source(), seen.get_type()) == (event.id, event.source, event.type)
    assert (seen.get_subject(), seen.get_extension("streamversion")) == (event.stream, event.version)
    assert seen.get_data() == msgspec.json.decode(event.data)


@given(events)
def test_our_decoder_reads_structured_messages_of_the_sdk(event: EncodedEvent) -> None:
    """The SDK reads our event and writes it again, without the key: the subject says the stream."""
    sent = structured(message_of(event, "shop.order"))
    value = sent.value if isinstance(sent.value, bytes) else sent.value.encode()
    read = from_structured(KafkaMessage({"content-type": STRUCTURED_TYPE.encode()}, None, value), JSONFormat())
    written = to_structured(read, JSONFormat())

    back = event_of(opened(Message("shop.order", "", written.value, list(written.headers.items()))))

    assert (back.stream, msgspec.json.decode(back.data)) == (event.stream, msgspec.json.decode(event.data))
    assert msgspec.structs.replace(back, data=event.data, time=event.time) == event


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({**PLAIN, "id": {"a": 1}}, "attribute id is"),
        ({**PLAIN, "source": 1.5}, "attribute source is"),
        ({**PLAIN, "data_base64": "§"}, "data_base64"),
        (b"[]", "cannot be read"), (b"{", "cannot be read"), (b"\xff", "cannot be read"), (b"", "cannot be read"),
        (b'{"id":"\\ud800"}', "cannot be read"), (b"[" * 100_000, "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_event_names_the_reason(fields: object, words: str) -> None:
    """It is kept as a dead letter, with the bytes that came."""
    message = received(fields)

    assert message.unreadable is not None
    assert words in message.unreadable
    with pytest.raises(UndecodableEvent):
        event_of(message)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({**PLAIN, "specversion": "0.3"}, "0.3"), ({**PLAIN, "streamversion": -1}, "ce_streamversion"),
        ({**PLAIN, "streamversion": True}, "ce_streamversion"), ({**PLAIN, "time": 0}, "ce_time"),
        ({**PLAIN, "metadata": "x"}, "ce_metadata"), ({**PLAIN, "id": None}, "ce_id"),
    ],
)  # fmt: skip
def test_the_rules_of_headers_hold_for_attributes(fields: object, words: str) -> None:
    """Attributes are checked as in binary mode."""
    with pytest.raises(UndecodableEvent, match=words):
        event_of(received(fields))


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents-batch+json", "application/cloudevents+avro", "application/cloudevents"]
)
def test_another_format_is_named(content_type: str) -> None:
    """A batch, Avro and Protobuf are not read: the dead letter says which it was."""
    assert content_type in (received(PLAIN, content_type=content_type).unreadable or "")


def test_names_that_are_no_attributes_are_not_believed() -> None:
    """An attribute's name is of lower-case letters and digits: no other name can become a header of eventkit's."""
    message = received({**PLAIN, "Ce_id": "x", "stream_version": "9", "ID": "y", "sequence": "5"})

    assert dict(message.headers)["ce_sequence"] == "5"
    assert {name for name, _ in message.headers} <= {f"ce_{name}" for name in PLAIN} | {"ce_sequence", "content-type"}


def test_headers_beside_a_structured_event_cannot_overrule_it() -> None:
    """Attributes come from the value alone; other headers stay."""
    headers: list[tuple[str, str | bytes]] = [("content-type", STRUCTURED_TYPE), ("ce_id", "forged"), ("x", "kept")]

    message = opened(Message("shop.order", "order-1", msgspec.json.encode(PLAIN), headers))

    assert [value for name, value in message.headers if name == "ce_id"] == ["1"]
    assert ("x", "kept") in message.headers


def test_an_unreadable_message_stays_unreadable() -> None:
    """A transport's own reason is not replaced."""
    headers: list[tuple[str, str | bytes]] = [("content-type", STRUCTURED_TYPE)]

    assert opened(Message("t", "", msgspec.json.encode(PLAIN), headers, None, "its key")).unreadable == "its key"


def test_a_key_that_is_missing_is_the_subject() -> None:
    """In both modes, and only where there is no key."""
    binary = [*message_of(an_event(), "shop.order").headers, ("ce_subject", b"order-2")]

    assert received({**PLAIN, "subject": "order-2"}, key="").key == "order-2"
    assert received({**PLAIN, "subject": "order-2"}).key == "order-1"
    assert opened(Message("shop.order", "", b"{}", binary)).key == "order-2"
    assert opened(Message("shop.order", "order-1", b"{}", binary)).key == "order-1"


@pytest.mark.parametrize(
    ("data", "content_type", "value"),
    [
        ({"data": "text"}, "text/plain", b"text"), ({"data": "text"}, "application/json", b'"text"'),
        ({"data_base64": "AAE="}, "application/octet-stream", b"\x00\x01"), ({}, "application/json", b""),
        ({"data": {"a": 1e0}}, "application/vnd.shop+json; charset=utf-8", b'{"a":1.0}'),
    ],
)  # fmt: skip
def test_the_data_is_the_value_by_its_type(data: dict[str, object], content_type: str, value: bytes) -> None:
    """JSON stays JSON, to the byte; a text of another type is the text itself; bytes are in Base64."""
    fields = {name: part for name, part in PLAIN.items() if name != "data"}

    assert received({**fields, **data, "datacontenttype": content_type}).value == value


@pytest.mark.parametrize("value", ["text", b"\x00\x01"])
def test_data_of_another_type_is_sent_as_such(value: bytes | str) -> None:
    """A message need not be JSON: text is a text, bytes are in Base64."""
    headers = [*message_of(an_event(), "shop.order").headers[:6], ("content-type", "text/plain")]

    back = opened(structured(Message("shop.order", "order-1", value, headers)))

    assert back.value == (value if isinstance(value, bytes) else value.encode())
