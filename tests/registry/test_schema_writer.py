"""The names of schemas on messages, by any transport; messages without a schema, and those that must not be sent."""

import uuid
from typing import cast

import pytest

from eventkit.domain.message import Message, headers_of
from eventkit.domain.structured import opened
from eventkit.errors import ConfigurationError
from eventkit.registry import SchemaIdForm, SchemaIds, SchemaIdTransport, SchemaRegistry, SubjectNames
from eventkit.registry.schema_ids import Key
from eventkit.storage.schema_ids import KnownSchema
from eventkit.transports import Transport, open_transport
from tests.transports.test_cloud_events import EVENT
from tests.transports.traffic import deliver, read

PLACE = "https://registry.example/api"
GUID = uuid.UUID(int=7)


def ids(*known: Key, guid: uuid.UUID | None = None) -> SchemaIds:
    """Return ids that know these types, each with the id 7."""
    found = SchemaIds(SchemaRegistry(PLACE.replace("//", "//ci:secret@")), SubjectNames.RECORD)
    found._known = {key: KnownSchema(PLACE, "shop.Placed", key[3], 7, guid) for key in known}
    found._known["shop.order", "shop", "eventkit.tombstone", 1] = None
    return found


def event(kind: str = "Placed", *, version: int = 1) -> Message:
    """Return a message as the relay makes it."""
    headers = headers_of(EVENT)
    headers[3] = ("ce_type", kind)
    if version > 1:
        headers.insert(7, ("ce_dataschemaversion", str(version)))
    return Message("shop.order", EVENT.stream, EVENT.data, headers, version)


def test_every_broker_and_mode_can_have_dataschema() -> None:
    """An attribute, without the registry's password; a version above 1 has the schema of its own, a tombstone none."""
    url = f"local://{uuid.uuid4().hex}?format=structured"
    known = ids(("shop.order", "shop", "Placed", 1), ("shop.order", "shop", "Placed", 2))
    transport = cast("Transport", SchemaIdTransport(open_transport(url), known, SchemaIdForm.DATASCHEMA))
    transport.create_topics(["shop.order"], partitions=1)
    subscription = transport.subscribe(["shop.order"], "g")
    publisher = transport.publisher()

    sent = [event(), event(version=2), event("eventkit.tombstone", version=1)]
    deliver(publisher, [Message(each.topic, each.key, each.value, each.headers, tag) for tag, each in enumerate(sent)])

    found = [dict(opened(message).headers).get("ce_dataschema") for message in read(subscription, 3)]
    assert found == [f"{PLACE}/schemas/ids/7/schema"] * 2 + [None]


def test_an_unknown_schema_holds_its_topic_and_nothing_is_sent() -> None:
    """Not even the events before it, which could be of the same stream; the relay sends all of them again."""
    transport = open_transport(f"local://{uuid.uuid4().hex}")
    transport.create_topics(["shop.order"], partitions=1)
    subscription = transport.subscribe(["shop.order"], "g")
    naming = SchemaIdTransport(transport, ids(("shop.order", "shop", "Placed", 1)), SchemaIdForm.DATASCHEMA)
    publisher = naming.publisher()

    publisher.send([event(), event(version=2)])
    reports = publisher.reports(1)

    assert (reports.confirmed, list(reports.held), reports.failed) == ([], ["shop.order"], True)
    assert "the schema of 'Placed' is not known yet" in reports.held["shop.order"]
    assert subscription.receive(10, 0) == []


@pytest.mark.parametrize(("guid", "frame"), [(None, b"\0\0\0\0\7"), (GUID, b"\1" + GUID.bytes)])
def test_a_header_has_the_guid_where_the_registry_has_one(guid: uuid.UUID | None, frame: bytes) -> None:
    """As Confluent's serializers write it; else the id, which its deserializers read too."""
    known = ids(("shop.order", "shop", "Placed", 1), guid=guid)
    naming = SchemaIdTransport(open_transport("kafka://nowhere.invalid:1"), known, SchemaIdForm.HEADER)
    headers, payload = naming.publisher()._parts(known._known["shop.order", "shop", "Placed", 1])  # type: ignore[attr-defined]

    assert (headers[1], payload) == (("__value_schema_id", frame), b"")


@pytest.mark.parametrize("form", [SchemaIdForm.HEADER, SchemaIdForm.PAYLOAD])
@pytest.mark.parametrize("url", ["redis://localhost", "kafka://localhost:9092?format=structured"])
def test_ids_are_for_kafka_in_binary_mode(url: str, form: SchemaIdForm) -> None:
    """The schema is that of the data, so a structured event is refused; the error names the form that works."""
    with pytest.raises(ConfigurationError, match="set schema_id to 'dataschema'"):
        SchemaIdTransport(open_transport(url), ids(), form)
