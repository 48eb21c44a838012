"""The advisory locks that eventkit takes in a database: two numbers each, the first is the lock's kind."""

import zlib

_PROJECTION = 0x65766B74  # "evkt"


def projection_gate(schema: str, name: str) -> tuple[int, int]:
    """Return the lock that a projection's transactions share, and that a swap takes exclusively."""
    return _PROJECTION, zlib.crc32(f"{schema} {name}".encode()) - 2**31  # an int4
