"""The changes of PostgreSQL's jsonb to JSON: a space after each comma and colon, and numbers without exponents.

So stored JSON is larger than encoded JSON, and a float such as 1e16 would come back as an integer. Only numbers outside
of strings matter. Digits, an e and digits occur in every second UUID, so the functions here use operations on whole
texts: an event takes microseconds for any content of its strings.
"""

import json
import re
from decimal import Decimal
from typing import Any

import msgspec

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?[eE][+-]?\d+")
_LARGE = re.compile(rb"-?\d+(?:\.\d+)?[eE]\+?\d+")
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")
MAX_GROWTH = 52  # factor: `1e308,` becomes 309 digits, a comma and a space, and no other text grows more


def stored_size(data: bytes) -> int:
    """Return the size in bytes of JSON as jsonb returns it; a negative zero is counted with its sign."""
    size = len(msgspec.json.format(data, indent=0))  # adds the same spaces as jsonb
    if _has_exponents(data):
        numbers = _NUMBER.findall(_outside_strings(data))
        size += sum(len(_plain(number)) - len(number) for number in numbers)
    return size


def exceeds(data: bytes, limit: int) -> bool:
    """Return whether `stored_size` is above a limit; it is not computed for texts that cannot reach it."""
    return len(data) * MAX_GROWTH > limit and stored_size(data) > limit


def keep_floats(data: bytes) -> bytes:
    """Return JSON in which jsonb keeps each float a float: 1e16 is written 10000000000000000.0."""
    if not _has_exponents(data):
        return data
    parts = _masked(data).split(b'"')
    parts[::2] = [_LARGE.sub(_float, part) for part in parts[::2]]
    return b'"'.join(parts).replace(b"\x01", b'\\"').replace(b"\x00", b"\\\\")


def in_jsonb_order(data: bytes) -> bytes:
    """Return JSON with the keys of each object in jsonb's order: by length, then by bytes."""
    return json.dumps(json.loads(data, object_pairs_hook=_in_order)).encode()


def _in_order(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(sorted(pairs, key=lambda pair: (len(pair[0].encode()), pair[0].encode())))


def _has_exponents(data: bytes) -> bool:
    if b"0e" not in data.translate(_DIGITS):
        return False
    outside = _outside_strings(data)
    return outside.count(b"e") + outside.count(b"E") > outside.count(b"true") + outside.count(b"false")


def _outside_strings(data: bytes) -> bytes:
    return b"".join(_masked(data).split(b'"')[::2])


def _masked(data: bytes) -> bytes:
    """Replace escaped quotes and backslashes by control characters, which JSON cannot hold; other quotes stay."""
    if b"\\" not in data:
        return data
    return data.replace(b"\\\\", b"\x00").replace(b'\\"', b"\x01")


def _float(number: re.Match[bytes]) -> bytes:
    plain = _plain(number[0])
    return plain if b"." in plain else plain + b".0"


def _plain(number: bytes) -> bytes:
    return format(Decimal(number.decode()), "f").encode()
