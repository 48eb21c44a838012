"""Events of every supported kind, each with values at the edge of its type, for tests of exports."""

import dataclasses
import datetime as dt
import enum
import ipaddress
import json
import pathlib
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import pydantic
from jsonschema import Draft202012Validator
from pydantic import AliasChoices, AnyUrl, BaseModel, ConfigDict, Field, HttpUrl, Json
from typing_extensions import TypedDict

from eventkit import StreamId
from eventkit.domain.catalog.schema import Schema
from tests.domain.codec.happenings import Colour, Customer, Line, Price

T = TypeVar("T")
NOW = dt.datetime(2020, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC)
NAIVE = NOW.replace(tzinfo=None)
EAST = dt.timezone(dt.timedelta(hours=5, minutes=30))
DAY = dt.date(1, 1, 1)
AN_ID = UUID("01234567-89ab-4def-8123-456789abcdef")


class Rights(enum.Flag):
    """Combined flags."""

    READ = 1
    WRITE = 2


class Options(enum.IntFlag):
    """Combined numbers."""

    A = 1
    B = 2


class Level(enum.IntEnum):
    """Numbers."""

    LOW = 1


class Pair(NamedTuple):
    """A tuple."""

    first: int
    at: dt.datetime | None = None


class Keyed(TypedDict, total=False):
    """An object."""

    at: dt.datetime


class Row(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """A tagged array."""

    a: int
    b: dt.time
    c: str = "x"


class Paid(msgspec.Struct, tag=True, frozen=True):
    """One of a union."""

    cents: int


class Waived(msgspec.Struct, tag="waived", frozen=True):
    """Another one."""

    at: dt.datetime


class Sparse(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Writes no defaults."""

    a: int = 1
    b: list[int] = []
    c: int | msgspec.UnsetType = msgspec.UNSET


class Box(msgspec.Struct, Generic[T], frozen=True):
    """A generic Struct."""

    value: T


@dataclasses.dataclass(frozen=True)
class Crate(Generic[T]):
    """A generic dataclass."""

    value: T
    since: dt.timedelta = dt.timedelta(-1)


class Tree(msgspec.Struct, frozen=True):
    """Holds itself."""

    below: "list[Tree]" = []
    at: dt.time | None = None


class Quote(BaseModel):
    """A model in a model."""

    at: dt.datetime
    amount: Decimal


class Offer(BaseModel):
    """Holds models."""

    quote: Quote
    more: list[Quote] = []


OFFER = Offer(quote=Quote(at=NOW, amount=Decimal("1E+3")), more=[Quote(at=NAIVE, amount=Decimal("-0.10"))])
VALUES: list[tuple[Any, list[Any]]] = [  # a type, and values of it
    (int, [0, -1, 10**40]), (float, [1e300, 5e-324, 1e16, 5]), (int | float, [1e22, 3]), (bool, [True]),
    (str, ["", "é😀"]), (bytes, [b"", b"\xff\x00"]), (bytearray, [bytearray(b"a")]), (UUID, [AN_ID]),
    (Decimal, [Decimal("1E+10"), Decimal("-0"), Decimal("1.50")]), (dt.date, [DAY]),
    (dt.datetime, [NOW, NAIVE, NOW.astimezone(EAST), dt.datetime(1, 1, 1)]),  # noqa: DTZ001 naive on purpose
    (dt.time, [dt.time(1, 2, 3, 4), dt.time(1, tzinfo=dt.UTC)]),
    (dt.timedelta, [dt.timedelta.min, dt.timedelta.max, dt.timedelta(0), dt.timedelta(-1, microseconds=1)]),
    (Annotated[dt.datetime, msgspec.Meta(tz=True)], [NOW]),
    (Annotated[dt.datetime, msgspec.Meta(tz=False)], [NAIVE]),
    (Annotated[dt.time, msgspec.Meta(tz=True)], [dt.time(1, tzinfo=EAST)]),
    (Annotated[dt.datetime, msgspec.Meta(description="said")], [NAIVE]), (Colour, [Colour.RED]),
    (Level, [Level.LOW]), (Rights, [Rights(0), Rights.READ | Rights.WRITE]),
    (Options, [Options.A | Options.B, Options(9)]), (Literal["a", 1] | None, ["a", 1, None]),
    (Any, [{"a": [1e16, None]}]), (StreamId, [StreamId("a", 1)]), (Price, [Price(Decimal(1))]),
    (Line, [Line(AN_ID, Price(Decimal(1)))]), (Customer, [Customer(name="x", score=1.5)]), (Offer, [OFFER]),
    (list[Offer], [[OFFER]]), (Quote | None, [OFFER.quote]), (Pair, [Pair(1), Pair(1, NAIVE)]),
    (Keyed, [{}, {"at": NAIVE}]), (Row, [Row(1, dt.time(1))]), (Sparse, [Sparse()]),
    (Paid | Waived, [Paid(1), Waived(NAIVE)]), (Paid | dt.datetime | None, [NAIVE, Paid(1), None]),
    (Box[dt.time], [Box(dt.time(1))]), (Box[Box[dt.datetime]], [Box(Box(NOW))]),
    (Crate[Decimal], [Crate(Decimal("1.5"))]), (Tree, [Tree([Tree(at=dt.time(1))])]),
    (list[int | None], [[None, 1]]), (tuple[int, str], [(1, "a")]), (tuple[()], [()]), (tuple[int, ...], [(1, 2)]),
    (set[str], [{"a", "b"}]), (frozenset[tuple[int, str]], [frozenset({(1, "a")})]),
    (dict[str, list[dt.time]], [{"a": [dt.time(1)]}]), (dict[dt.datetime, int], [{NOW: 1, NAIVE: 2}]),
    (dict[dt.date, int], [{DAY: 1}]), (dict[Level, int], [{Level.LOW: 1}]), (dict[Colour, int], [{Colour.RED: 1}]),
    (dict[float, int], [{1e30: 1}]), (dict[Decimal, int], [{Decimal("1E+5"): 1}]), (dict[UUID, int], [{AN_ID: 1}]),
    (dict[Literal["a"], int], [{"a": 1}]), (dict[Annotated[str, msgspec.Meta(pattern="^a")], int], [{"ab": 1}]),
    (Annotated[bytes, msgspec.Meta(min_length=3, max_length=3)], [b"abc"]),
    (Annotated[str, msgspec.Meta(pattern=r"(?i)^abc\Z")], ["ABC"]),
    (Annotated[str, msgspec.Meta(max_length=1)], ["😀"]), (Annotated[float, msgspec.Meta(multiple_of=0.1)], [0.1]),
    (Annotated[int, msgspec.Meta(gt=0, le=9, multiple_of=3)], [9]),
]  # fmt: skip


class Aliased(BaseModel):
    """Written by aliases, computed fields left out."""

    a: int = Field(alias="first")
    b: int = Field(1, validation_alias=AliasChoices("second", "b"), serialization_alias="second")

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def c(self) -> int:
        """Not written."""
        return 1


class InSeconds(BaseModel):
    """Times as numbers."""

    model_config = ConfigDict(ser_json_temporal="seconds")
    at: dt.datetime
    took: dt.timedelta


class Undeclared(BaseModel):
    """Serialized to an undeclared type."""

    at: dt.datetime
    of: Decimal

    @pydantic.field_serializer("at")
    def _seconds(self, value: dt.datetime):  # type: ignore[no-untyped-def] # noqa: ANN202 as users write it
        return value.timestamp()

    @pydantic.field_serializer("of")
    def _number(self, value: Decimal) -> float:
        return float(value)


class Encoded(BaseModel):
    """Bytes in base64, limited in bytes."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_timedelta="float")
    data: bytes = Field(max_length=3)
    took: dt.timedelta


class Utf8(BaseModel):
    """Bytes as text, limited in bytes."""

    data: bytes = Field(min_length=2)


class Numbers(BaseModel):
    """Limits of binary and decimal fractions."""

    a: float = Field(multiple_of=0.1)
    b: Decimal = Field(max_digits=5, decimal_places=2, gt=0)
    c: Decimal
    d: pydantic.ByteSize
    e: Json[list[int]]
    f: Json[Any]


class Addresses(BaseModel):
    """Texts with a form."""

    a: ipaddress.IPv4Address
    b: ipaddress.IPv6Network
    c: pathlib.Path
    d: re.Pattern[str]
    e: pydantic.IPvAnyAddress
    f: HttpUrl
    g: AnyUrl
    h: pydantic.PostgresDsn


class Containers(BaseModel):
    """Collections that only Pydantic has."""

    a: deque[int]
    b: OrderedDict[str, int]
    c: defaultdict[str, list[int]]
    d: Counter[str]
    e: Sequence[int]
    f: dict[bool, int]
    g: dict[tuple[int, int], int] = {}


class Cat(BaseModel):
    """One of a union."""

    kind: Literal["cat"]
    at: dt.time


class Dog(BaseModel):
    """Another one."""

    kind: Literal["dog"]
    age: dt.timedelta | None = None


class Owner(BaseModel):
    """A union with a discriminator."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: dict[str, Cat | Dog] = {}


class Open(BaseModel):
    """With further fields, and defaults that its schema requires."""

    model_config = ConfigDict(extra="allow", json_schema_serialization_defaults_required=True)
    aware: pydantic.AwareDatetime = NOW
    naive: pydantic.NaiveDatetime = NAIVE


class Texts(BaseModel):
    """Patterns of Rust's."""

    a: str = Field(pattern=r"^\d+$")
    b: str = Field(pattern=r"\p{L}")
    c: str = Field(pattern=r"^a\z")
    d: dict[Annotated[str, Field(pattern=r"\p{L}")], int]


class Hidden(BaseModel):
    """Leaves fields out."""

    a: int | None = Field(None, exclude_if=lambda value: value is None)
    b: int = Field(3, exclude=True)


class Custom(BaseModel):
    """Written by its own function."""

    x: int

    @pydantic.model_serializer
    def _written(self):  # type: ignore[no-untyped-def] # noqa: ANN202 as users write it
        return {"x": self.x}


class Branch(BaseModel):
    """Holds itself."""

    below: "list[Branch]" = []
    at: dt.time | None = None


class Generics(BaseModel, Generic[T]):
    """A generic model."""

    value: T


MODELS: list[BaseModel] = [
    Aliased.model_validate({"first": 1}), InSeconds(at=NOW, took=dt.timedelta(1.5)),
    Undeclared(at=NOW, of=Decimal("1.5")),
    Encoded(data=b"\xff\xfe\xfd", took=dt.timedelta(-1)), Utf8(data="é".encode()),
    Numbers.model_validate({"a": 0.3, "b": "1.50", "c": "1E+10", "d": "3000", "e": "[1]", "f": "{}"}),
    Addresses.model_validate({
        "a": "1.2.3.4", "b": "fe80::/10", "c": "/x", "d": "a.*", "e": "::1", "f": "https://bücher.example/^|ü?q=[]",
        "g": "mailto:a@b.c", "h": "postgresql://u:p@h/d",
    }),
    Containers.model_validate({"a": [1], "b": {"a": 1}, "c": {"x": [1]}, "d": {"a": 3}, "e": [1], "f": {True: 1}}),
    Owner(pet=Dog(kind="dog", age=dt.timedelta(-1)), pets={"a": Cat(kind="cat", at=dt.time(1))}),
    Open.model_validate({"more": 1}), Texts(a="12", b="é", c="a", d={"é": 1}), Hidden.model_validate({}), Custom(x=1),
    Branch(below=[Branch(at=dt.time(1))]), Generics[Generics[dt.datetime]](value=Generics(value=NAIVE)),
]  # fmt: skip
FORMS: dict[str, Callable[[Any], Any]] = {
    "dataclass": lambda kind: dataclasses.make_dataclass("Happened", [("field", kind)], frozen=True),
    "struct": lambda kind: msgspec.defstruct("Happened", [("field", kind)], frozen=True),
    "pydantic": lambda kind: pydantic.create_model("Happened", field=(kind, ...)),
}


def faults(schema: Schema, data: bytes | str) -> Iterator[str]:
    """Yield the errors of JSON under a schema, with the formats checked."""
    checker = Draft202012Validator.FORMAT_CHECKER
    for error in Draft202012Validator(schema, format_checker=checker).iter_errors(json.loads(data)):
        yield error.message
