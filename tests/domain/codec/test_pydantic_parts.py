"""Types that Pydantic alone can encode: taken or refused independently of the fields beside them."""

import ipaddress
import pathlib
import re
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import is_dataclass, make_dataclass
from typing import Annotated, Any

import annotated_types
import msgspec
import pydantic
import pytest

from eventkit import InvalidEvent
from eventkit.domain.codec.codec import Codec

PARTS: list[tuple[Any, Any]] = [
    (pydantic.HttpUrl, "https://x.org/a?b=c"), (pydantic.AnyUrl, "ftp://x.org/a"),
    (pydantic.PostgresDsn, "postgresql://u@h/d"), (ipaddress.IPv4Address, "10.0.0.1"),
    (ipaddress.IPv6Network, "fe80::/10"), (pathlib.Path, "/x/y"), (re.Pattern[str], "a.*b"), (deque[int], [1, 2]),
    (pydantic.Json[list[int]], "[1]"), (frozenset[str], {"a", "b"}), (pydantic.ByteSize, "3000"),
    (list[pydantic.PositiveInt], [1]), (pydantic.PositiveInt | None, 1),
    (dict[str, pydantic.Base64Bytes], {"a": b"AA=="}),
    (tuple[Annotated[str, pydantic.StringConstraints(max_length=3)], ...], ["abc"]),
    (list[Annotated[float, annotated_types.Gt(0)]], [1.5]), (defaultdict[str, list[int]], {"a": [1]}),
    (pathlib.PureWindowsPath, "C:\\a"), (ipaddress.IPv6Address, "fe80::1%eth0"), (Counter[str], {"a": 2}),
]  # fmt: skip
IDS: list[Callable[[], Any]] = [uuid.uuid4, lambda: uuid.uuid4().hex, lambda: "1e5,\\u0000 Infinity 1e16"]


@pytest.mark.parametrize(("kind", "value"), PARTS, ids=[str(kind) for kind, _ in PARTS])
@pytest.mark.parametrize("make", IDS)
def test_a_part_is_taken_beside_any_text(kind: Any, value: Any, make: Callable[[], Any]) -> None:
    """Digits, an e and digits in an id decide nothing; the event comes back equal."""
    model = pydantic.create_model("Linked", id=(type(make()), ...), what=(kind, ...))
    codec = Codec(model)

    for _ in range(50):
        event = model(id=make(), what=value)
        assert codec.decode(codec.encode(event)) == event


class Ordered(pydantic.BaseModel):
    """A model whose value has an order."""

    values: list[OrderedDict[str, int]] = []


@pytest.mark.parametrize(
    "cls",
    [
        Ordered,
        pydantic.create_model("Outer", inner=(Ordered | None, None)),
        make_dataclass("Outer", [("inner", dict[str, Ordered])]),
        msgspec.defstruct("Outer", [("inner", Ordered)]),
    ],
    ids=["model", "in a model", "in a dataclass", "in a Struct"],
)
def test_a_dict_whose_order_counts_is_taken_in_the_order_of_jsonb_alone(cls: type) -> None:
    """Two of it are equal in the same order only, and jsonb orders the keys by length."""
    codec = Codec(cls)
    for keys in (["a", "b", "aa"], ["aa", "a"], ["b", "a"]):
        inner: Any = Ordered(values=[OrderedDict.fromkeys(keys, 1)])
        event = inner if cls is Ordered else cls(inner={"k": inner} if is_dataclass(cls) else inner)
        if keys == sorted(keys, key=len) == sorted(sorted(keys), key=len):
            assert codec.decode(codec.encode(event)) == event
        else:
            with pytest.raises(InvalidEvent, match=r"OrderedDict\(.* would be read back as OrderedDict\("):
                codec.encode(event)
