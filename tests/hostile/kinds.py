"""The kinds of messages that no reader may stop at: a table, each by a name that says its fault.

Each must be applied, or be reported (a dead letter, or counted); none may keep the event behind it from being applied.
"""

import json
import random
import struct
import uuid
from datetime import UTC, datetime
from typing import Any

import pika

from tests.hostile.foreign import Foreign

ODD = b'{"customer": "odd", "amount": 1}'
_random = random.Random(1)
WIDE = "".join(chr(_random.randrange(0x4E00, 0x9FFF)) for _ in range(990))
TOP = 2**31


def event(key: Any = "order-odd", version: object = 1, value: Any = ODD, **more: Any) -> Foreign:  # noqa: ANN401 any
    """Return a proper event of the shop, except for the given fields; a header given as `...` is left out."""
    headers: dict[str, Any] = {
        "ce_specversion": "1.0", "ce_id": str(uuid.uuid4()), "ce_source": "shop", "ce_type": "Ordered",
        "ce_time": "2026-01-01T00:00:00Z", "ce_streamversion": str(version), "content-type": "application/json",
        **more,
    }  # fmt: skip
    return Foreign(key, value, [(name, value) for name, value in headers.items() if value is not ...])


SAME = event("order-same", "x")
EVERYWHERE: dict[str, list[Foreign]] = {
    "twice the same without headers": [Foreign("heartbeat", b"ping")] * 2,
    "twice the same with a version that is none": [SAME] * 2,
    "no key": [Foreign("", ODD, event().headers)],
    "a key that is no stream": [event("a key")],
    "a key of 10 kB in the form of a stream": [event("order-" + "x" * 10_000)],
    "a key of 990 wide characters": [event(f"order-{WIDE}"), event(f"order-{WIDE}", 2)],
    "a key of 4,000 characters that do not compress": [Foreign(_random.randbytes(2000).hex(), b"ping")],
    "a key with a line separator": [event("order-\u2028")],
    "versions across 2^31": [event("order-top", TOP - 2 + number) for number in range(4)],
    "versions down across 2^31": [event("order-down", TOP - number) for number in range(3)],
    "a version of 5,000 digits": [event(version="9" * 5000)],
    "a version with an underscore": [event(version="1_0")],
    "a version with spaces": [event(version=" 1")],
    "a version in other digits": [event(version="\u0663")],
    "version 0": [event(version=0)],
    "a negative version": [event(version=-1)],
    "one version three times, the first without a time": [
        event("order-fork1", ce_time=...),
        event("order-fork1"),
        event("order-fork1", value=b"x"),
    ],
    "one version three times, the second no JSON": [
        event("order-fork2"),
        event("order-fork2", value=b"x"),
        event("order-fork2"),
    ],
    "a version twice below another one twice that fails": [
        event("order-fork3"),
        event("order-fork3"),
        event("order-fork3", 2, value=b"x"),
        event("order-fork3", 2),
    ],
    "one version twenty times, each fails": [event("order-fork4", value=b"%d" % number) for number in range(20)],
    "no id": [event("order-id1", ce_id=...)],
    "an empty id": [event("order-id2", ce_id="")],
    "an id of 3,000 characters": [event("order-id3", ce_id=_random.randbytes(1500).hex())],
    "an id of wide characters": [event("order-id4", ce_id=WIDE)],
    "no source": [event("order-source", ce_source=...)],
    "no type": [event("order-type", ce_type=...)],
    "CloudEvents 0.3": [event("order-spec", ce_specversion="0.3")],
    "no time": [event("order-time", ce_time=...)],
    "a time that is none": [event("order-time1", ce_time="yesterday")],
    "year 0": [event("order-time2", ce_time="0000-01-01T00:00:00Z")],
    "year 10000": [event("order-time3", ce_time="10000-01-01T00:00:00Z")],
    "the beginning of time, east of Greenwich": [event("order-time4", ce_time="0001-01-01T00:00:00+02:00")],
    "schema version 2 among seven headers": [event("order-v2", ce_dataschemaversion="2", **{"content-type": ...})],
    "a schema version that is none": [event("order-v3", ce_dataschemaversion="two")],
    "a schema version of the future": [event("order-v4", ce_dataschemaversion="9999999999")],
    "metadata that are no JSON": [event("order-meta1", ce_metadata="{")],
    "metadata that are no object": [event("order-meta2", ce_metadata="[]")],
    "metadata of great depth": [event("order-meta3", ce_metadata='{"a":' + "[" * 20_000 + "]" * 20_000 + "}")],
    "NUL in a header's value": [event("order-nul", value=b"{}", x="a\0b")],
    "an empty value": [event("order-value1", value=b"")],
    "a value that is no JSON": [event("order-value2", value=b"\xff\xfe\x00")],
    "a value that is no object": [event("order-value3", value=b"[]")],
    "a value of great depth": [event("order-value4", value=b"[" * 100_000)],
    "NaN": [event("order-value5", value=b'{"customer": "odd", "amount": NaN}')],
    "a number beyond all integers": [event("order-value6", value=b'{"customer": "odd", "amount": 1e400}')],
    "an integer that the table does not take": [
        event("order-value7", value=b'{"customer": "odd", "amount": %d}' % TOP)
    ],
    "a lone surrogate": [event("order-value8", value=b'{"customer": "\\ud800", "amount": 1}')],
    "NUL in a text": [event("order-value9", value=b'{"customer": "a\\u0000b", "amount": 1}')],
    "NUL in a key of the JSON": [event("order-valuea", value=b'{"customer\\u0000": "odd", "amount": 1}')],
    "a key of the JSON that is there twice": [event("order-valueb", value=ODD[:-1] + b', "amount": 1}')],
    "an id in the form of a UUID, with blanks": [event("order-uuid1", ce_id="12345678-1234-5678-1234-56781234  78")],
    "an id in the form of a UUID, with dashes": [event("order-uuid2", ce_id="12345678-1234-5678-1234-567812----78")],
    "an id of other digits": [event("order-uuid3", ce_id="12345678-1234-5678-1234-5678123\u0663\u06634567")],
    "times of other forms": [
        event(f"order-form{number}", ce_time=time)
        for number, time in enumerate(["20260131T120000Z", "2026-W05-6T12:00:00Z", "2026-01-31T12Z"])
    ],
    "a schema's frame of an id": [event("order-frame1", value=b"\0\0\0\0\7" + ODD)],
    "a schema's frame of a GUID": [event("order-frame2", value=b"\1" + uuid.UUID(int=7).bytes + ODD)],
    "frames that are cut off": [
        event(f"order-cut{length}", value=(b"\0\0\0\0\7", b"\1" * 17)[length % 2][:length]) for length in range(1, 17)
    ],
    "a frame of nothing": [event("order-frame3", value=b"\0\0\0\0\7"), event("order-frame4", value=b"\1" * 17)],
    "a frame in a frame": [event("order-frame5", value=b"\0\0\0\0\7\0\0\0\0\7" + ODD)],
    "a frame of a kind that does not exist": [event("order-frame6", value=b"\2\0\0\0\7" + ODD)],
    "a frame around a structured event that is none": [
        event("order-frame7", value=b"\0\0\0\0\7{", **{"content-type": "application/cloudevents+json"})
    ],
    "a schema's id as a header": [event("order-frame8", __value_schema_id="\0\0\0\0\7")],
    "a schema's id as a header that is none": [
        event("order-frame9", __value_schema_id="x" * 5_000, ce_dataschema="\0")
    ],
    "personal data of nobody": [
        event("order-own1", value=ODD[:-1] + b', "$personal": {"nobody-1": {"key": "k", "sealed": "AA=="}}}')
    ],
    "personal data that is none": [event("order-own2", value=ODD[:-1] + b', "$personal": 7}')],
}


class Table(pika.BasicProperties):  # type: ignore[misc]  # pika has no types
    """Properties whose headers are these bytes."""

    def __init__(self, table: bytes) -> None:
        super().__init__()
        self.table = table

    def encode(self) -> list[bytes]:
        """Return the flags and the table."""
        return [struct.pack(">H", self.FLAG_HEADERS), struct.pack(">I", len(self.table)), self.table]


def deep(levels: int) -> bytes:
    """Return a field whose value is a table, in which there is one, and so on."""
    table = b""
    for _ in range(levels):
        table = b"\x01xF" + struct.pack(">I", len(table)) + table
    return table


def amqp(key: str, **attributes: Any) -> pika.BasicProperties:  # noqa: ANN401 any
    """Return the properties of a proper event by CloudEvents' binding for AMQP, except for the given attributes."""
    proper = {name[3:]: value for name, value in event().headers if name.startswith("ce_")}
    table = {f"cloudEvents:{name}": value for name, value in {**proper, "subject": key, **attributes}.items()}
    return pika.BasicProperties(headers=table, content_type="application/json")


SURROGATE = {"ce_specversion": "1.0", "ce_id": "\ud800", "ce_source": "shop", "ce_type": "Ordered"}
OWN: dict[str, dict[str, list[Foreign]]] = {
    "local": {
        "a key that is None": [Foreign(None, ODD, event().headers)],
        "a key of bytes": [Foreign(b"order-\xff", ODD, event().headers)],
        "a key with a lone surrogate": [event("order-\ud800")],
        "a value that is None": [event("order-l1", value=None)],
        "a value of another type": [event("order-l2", value=7)],
        "a header without value": [event("order-l3", ce_id=None)],
        "a header that is a number": [event("order-l4", ce_streamversion=1)],
        "a lone surrogate in a header": [Foreign("order-l5", ODD, list(SURROGATE.items()))],
        "a header's name of bytes": [Foreign("order-l6", ODD, [(b"\xff", "x")])],  # type: ignore[list-item]  # anything
    },
    "kafka": {
        "no key and no value": [Foreign(None, None, [])],
        "a tombstone": [event("order-k0", value=None)],
        "a key that is no UTF-8": [event(b"order-\xff")],
        "a header without value": [Foreign("key", b"ping", [("trace", None)])],
        "an id without value": [event("order-k1", ce_id=None)],
        "a version without value": [event("order-k2", ce_streamversion=None)],
        "no header has a value": [Foreign("order-k3", ODD, [(name, None) for name, _ in event().headers])],
        "a header of bytes": [event("order-k4", value=b"{}", x=b"\xff\xfe\x00")],
        "an id of bytes": [event("order-k5", ce_id=b"\xff\xfe")],
        "a header that is there twice": [
            Foreign("order-k6", ODD, [*event().headers, ("ce_id", "another")]),
            Foreign("order-k7", ODD, [*event().headers, ("trace", "a"), ("trace", "b")]),
        ],
        "a schema's GUID as a header": [event("order-k9", __value_schema_id=b"\1" + uuid.UUID(int=7).bytes)],
        "a header without a name": [Foreign("order-k8", b"{}", [*event().headers, ("", b"x")])],
    },
    "redis": {
        "other fields": [Foreign(own={"foo": "bar"})],
        "no value": [Foreign(own={"key": "order-r0", "headers": json.dumps(dict(event().headers))})],
        "headers that are no JSON": [Foreign(own={"key": "order-r1", "value": ODD, "headers": "{{{"})],
        "headers of great depth": [Foreign(own={"key": "order-r2", "value": ODD, "headers": '{"a":' + "[" * 50_000})],
        "headers that are a list": [Foreign(own={"key": "order-r3", "value": ODD, "headers": "[]"})],
        "headers that are bytes": [Foreign(own={"key": "order-r4", "value": ODD, "headers": b"\xff\x00"})],
        "a header that is null": [event("order-r5", ce_id=None)],
        "a header that is a number": [event("order-r6", ce_streamversion=1)],
        "a header that is a table": [event("order-r7", x={"a": [1]})],
        "a header with a lone surrogate": [Foreign("order-r8", ODD, list(SURROGATE.items()))],
        "a key that is no UTF-8": [event(b"order-\xff")],
        "NUL in the key": [event("order-\0")],
        "NUL in a header's name": [event("order-r9", value=b"{}", **{"a\0b": "x"})],
        "fields that are no UTF-8": [Foreign(own={b"\xff": b"\xfe", b"key": b"\xff"})],
    },
    "activemq": {
        "a text without our headers": [Foreign(value=b"ping", own={})],
        "no content-length": [Foreign(value=b"ping", own={"eventkit-key": "order-a0"})],
        "no headers of the event": [Foreign(value=ODD, own={"eventkit-key": "order-a1", "content-length": "32"})],
        "headers that are no JSON": [Foreign(value=b"x", own={"eventkit-key": "order-a2", "eventkit-headers": "{"})],
        "a header that is null": [event("order-a3", ce_id=None)],
        "a header that is a number": [event("order-a4", ce_streamversion=1)],
        "no key": [Foreign(value=b"x", own={"eventkit-headers": json.dumps(dict(event().headers))})],
        "headers of the broker's": [
            Foreign(value=b"x", own={"subscription": "9:9", "ack": "nobody", "message-id": "mine", "JMSXGroupID": "a"})
        ],
        "a type of its own": [
            Foreign(value=b"\x00\x01", own={"content-length": "2", "type": "\u2028", "x\u2028": "y"})
        ],
    },
    "rabbitmq": {
        "no properties": [Foreign(value=b"ping", own=pika.BasicProperties())],
        "a header that is null": [event("order-q0", ce_id=None)],
        "a header that is a number": [event("order-q1", ce_streamversion=1)],
        "a header that is a table": [event("order-q2", x={"a": [1, {"b": None}]}, ce_metadata={"a": 1})],
        "a header that is a date": [event("order-q3", ce_time=datetime(2026, 1, 1, tzinfo=UTC))],
        "a header of bytes": [event("order-q4", ce_id=b"\xff\xfe")],
        "a time in milliseconds that is in no year": [
            Foreign(value=ODD, own=amqp(f"order-q{number}", time=time))
            for number, time in enumerate([2**62, -(2**62), 253_402_300_800_000], 10)
        ],
        "attributes of other types": [
            Foreign(value=ODD, own=amqp(f"order-{name}-{place}", **{name: value}))
            for name in ("specversion", "id", "time", "streamversion", "subject", "dataschemaversion", "metadata")
            for place, value in enumerate([None, True, 7, [7], {"a": 7}, b"\xff"])
        ],
        "a key that is a number": [Foreign(7, ODD, event().headers)],
        "a key that is a table": [Foreign({"a": 1}, ODD, event().headers)],
        "NUL in the key": [event("order-\0")],
        "a date beyond all years": [Foreign(value=ODD, own=Table(b"\x01xT" + struct.pack(">Q", 2**63)))],
        "a header's name that is no UTF-8": [Foreign(value=ODD, own=Table(b"\x02\xff\xfeS\x00\x00\x00\x01x"))],
        "tables of great depth": [Foreign(value=ODD, own=Table(deep(2_000)))],
    },
}
