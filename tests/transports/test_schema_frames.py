"""Messages with Confluent's frame of a schema id are events for every reader, on every broker."""

import uuid
from typing import Any

import pytest

from eventkit.domain.message import event_of
from eventkit.domain.schema_frame import HEADER, frame_of_guid, frame_of_id
from tests.hostile.conftest import Broker, broker
from tests.hostile.foreign import BROKERS
from tests.hostile.kinds import ODD, event
from tests.transports.traffic import read

__all__ = ["broker"]

GUID = uuid.UUID(int=7).bytes


@pytest.mark.parametrize("broker", BROKERS, indirect=True)
def test_a_schemas_frame_is_taken_off(broker: Broker) -> None:
    """An id or a GUID before the value, or an id in the header: the same event, and the same data."""
    topic = f"shop.f{uuid.uuid4().hex[:8]}"
    broker.transport.create_topics([topic], partitions=1)
    subscription = broker.transport.subscribe([topic], f"g{uuid.uuid4().hex[:8]}")
    frames: list[tuple[bytes, dict[str, Any]]] = [
        (b"", {}),
        (frame_of_id(2**32 - 1), {}),
        (frame_of_guid(GUID), {"content-type": "application/octet-stream"}),
        (frame_of_id(0), {"content-type": ...}),
        (b"", {HEADER: frame_of_id(7).decode(), "ce_dataschema": "http://registry/schemas/ids/7"}),
    ]
    written = [event(f"order-{place}", 1, frame + ODD, **more) for place, (frame, more) in enumerate(frames)]
    broker.send(topic, written)

    found = read(subscription, len(written))
    subscription.close()

    events = sorted((event_of(each) for each in found), key=lambda each: each.stream)
    assert [(each.stream, each.data) for each in events] == [(f"order-{place}", ODD) for place in range(len(written))]


@pytest.mark.parametrize("value", [b"\0", b"\0" * 5, b"\1", b"\1" * 17, b"\0\xff" * 9, b"\1" * 17 + b"\2{}"])
@pytest.mark.parametrize("broker", ["local"], indirect=True)
def test_a_value_that_is_no_json_behind_a_frame_arrives_unchanged(broker: Broker, value: bytes) -> None:
    """A truncated frame, another format and bytes that only begin like a frame: a dead letter keeps them whole."""
    topic = f"shop.f{uuid.uuid4().hex[:8]}"
    broker.transport.create_topics([topic], partitions=1)
    subscription = broker.transport.subscribe([topic], "g")
    broker.send(topic, [event("order-1", 1, value)])

    assert [event_of(each).data for each in read(subscription, 1)] == [value]
