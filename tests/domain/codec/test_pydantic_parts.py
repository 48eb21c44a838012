"""Types that Pydantic alone can encode: taken or refused independently of the fields beside them."""

import ipaddress
import pathlib
import re
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

import pydantic
import pytest

from eventkit.domain.codec.codec import Codec

PARTS: list[tuple[Any, Any]] = [
    (pydantic.HttpUrl, "https://x.org/a?b=c"), (pydantic.AnyUrl, "ftp://x.org/a"),
    (pydantic.PostgresDsn, "postgresql://u@h/d"), (ipaddress.IPv4Address, "10.0.0.1"),
    (ipaddress.IPv6Network, "fe80::/10"), (pathlib.Path, "/x/y"), (re.Pattern[str], "a.*b"), (deque[int], [1, 2]),
    (pydantic.Json[list[int]], "[1]"), (frozenset[str], {"a", "b"}), (pydantic.ByteSize, "3000"),
]  # fmt: skip
IDS: list[Callable[[], Any]] = [uuid.uuid4, lambda: uuid.uuid4().hex, lambda: "1e5,\\u0000 Infinity 1e16"]


@pytest.mark.parametrize(("kind", "value"), PARTS)
@pytest.mark.parametrize("make", IDS)
def test_a_part_is_taken_beside_any_text(kind: Any, value: Any, make: Callable[[], Any]) -> None:
    """Digits, an e and digits in an id decide nothing; the event comes back equal."""
    model = pydantic.create_model("Linked", id=(type(make()), ...), what=(kind, ...))
    codec = Codec(model)

    for _ in range(50):
        event = model(id=make(), what=value)
        assert codec.decode(codec.encode(event)) == event
