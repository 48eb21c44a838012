"""The tables of docs/events.md: each type in the first is taken, each in the second is refused with its sentence."""

import datetime as dt
import enum
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import make_dataclass
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pytest

from eventkit import CatalogError, StreamId
from eventkit.domain.codec.codec import Codec
from tests.domain.codec.happenings import Colour, Customer, Line, Price

DOCUMENT = Path(__file__).parents[3] / "docs" / "events.md"
ROW = re.compile(r"^\| `((?:[^`])+)` \| (.*?) \|", re.MULTILINE)


class Pair(NamedTuple):
    """A named tuple."""

    first: int
    second: str


class Keyed(TypedDict):
    """A typed dict."""

    first: int


class SubclassOfStr(str):  # noqa: SLOT000 a plain subclass, as users write them
    """Text of its own class."""


class EnumOfTuples(enum.Enum):
    """Neither text nor numbers."""

    ONE = (1, 2)


NAMES: dict[str, Any] = {
    **{name: getattr(dt, name) for name in ("date", "time", "datetime", "timedelta")},
    "Decimal": Decimal, "UUID": UUID, "Enum": Colour, "Literal": Literal, "StreamId": StreamId, "NamedTuple": Pair,
    "TypedDict": Keyed, "dataclass": Price, "Struct": Line, "BaseModel": Customer, "Any": Any, "deque": deque,
    "IPv4Address": IPv4Address, "Path": Path, "Iterable": Iterable, "SubclassOfStr": SubclassOfStr, "msgspec": msgspec,
    "EnumOfTuples": EnumOfTuples,
}  # fmt: skip


def rows(title: str) -> list[tuple[str, str]]:
    """Return the types of the table below a header row, with the cells beside them."""
    table = DOCUMENT.read_text().split(f"| type | {title} |")[1].split("\n\n")[0]
    return [(kind.replace("\\|", "|"), beside) for kind, beside in ROW.findall(table)]


def codec(kind: str) -> Codec:
    """Make the codec of a class with a field of this type."""
    return Codec(make_dataclass("Happened", [("field", eval(kind, dict(NAMES)))], frozen=True))  # noqa: S307 our document


@pytest.mark.parametrize("kind", [kind for kind, _ in rows("in JSON | notes")])
def test_a_type_of_the_table_is_taken(kind: str) -> None:
    """Where its class is registered."""
    codec(kind)


@pytest.mark.parametrize(("kind", "error"), rows("the error"))
def test_another_type_is_refused_with_its_sentence(kind: str, error: str) -> None:
    """Where its class is registered, not at its first event."""
    with pytest.raises(CatalogError, match=re.escape(error)):
        codec(kind)


def test_the_tables_are_read() -> None:
    """Neither is empty."""
    assert len(rows("in JSON | notes")) > 20
    assert len(rows("the error")) > 10
