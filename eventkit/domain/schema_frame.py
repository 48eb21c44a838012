"""Confluent's frame: the id of a registered schema, in front of a message's value or in a header of its own.

    0, 4 bytes of an id     in front of the value, or in the header `__value_schema_id`
    1, 16 bytes of a GUID   the same; Confluent's own serializers write it as the header

No JSON begins with the byte 0 or 1, so every reader takes a frame off that stands before JSON. Any other value that
begins with such a byte is not JSON, and arrives as it is. Readers of eventkit need no registry: an event's type and
schema version name its schema.
"""

import struct

HEADER = "__value_schema_id"
_ID, _GUID = b"\0", b"\1"
_LENGTHS = {_ID: 5, _GUID: 17}  # bytes
FRAME_STARTS = frozenset(_LENGTHS)
_JSON_STARTS = frozenset(b'{["-0123456789tfn \t\r\n')


def frame_of_id(schema_id: int) -> bytes:
    """Return the frame of an id."""
    return struct.pack(">BI", 0, schema_id)


def frame_of_guid(guid: bytes) -> bytes:
    """Return the frame of a GUID of 16 bytes."""
    return _GUID + guid


def without_frame(value: bytes) -> bytes:
    """Return a received value without the frame before its JSON; another value as it is."""
    length = _LENGTHS.get(value[:1], 0)
    return value[length:] if value[length : length + 1] and value[length] in _JSON_STARTS else value
