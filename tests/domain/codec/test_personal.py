"""Personal fields: their marks, the rules of a mark, the values kept apart from an event's data, and error messages."""

import base64
import datetime as dt
import sys
from dataclasses import dataclass, make_dataclass
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pydantic
import pytest

from eventkit import Catalog, CatalogError, EventTooLarge, InvalidEvent, Personal, UndecodableEvent
from eventkit.domain.codec.encoded import Sealable
from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.master_keys import MasterKeys, cipher
from eventkit.domain.sealing import SealingContext, SubjectKey, SubjectKeyId, opened_data, sealed_data, sealed_in
from eventkit.errors import ConfigurationError

SECRET = "hush-51ac"
STREAM = "customer-42"


class Struct(msgspec.Struct, frozen=True, rename="camel"):
    """A Struct with other names in JSON."""

    customer_id: int
    full_name: Annotated[str, Personal(subject="customer_id", kind="customer")]


class Model(pydantic.BaseModel):
    """A Pydantic model with an alias."""

    customer: str = pydantic.Field(alias="for")
    name: Annotated[str, Personal(subject="customer")] = pydantic.Field(alias="fullName")
    born: Annotated[dt.date | None, Personal(subject="customer")] = None


def catalog_of(cls: type) -> Catalog:
    """Register a class."""
    catalog = Catalog("crm")
    catalog.event(name="Happened")(cls)
    return catalog


def marked(hint: Any, mark: Any, *more: tuple[str, Any]) -> type:
    """Make a class with one marked field."""
    return make_dataclass("Happened", [("field", Annotated[hint, mark]), *more], frozen=True)


def sealable(event: Any) -> Sealable:
    """Encode an event with personal values."""
    encoded = catalog_of(type(event)).encode(event)
    assert isinstance(encoded, Sealable)
    return encoded


@pytest.mark.parametrize(
    ("event", "data", "personal"),
    [
        (Struct(42, SECRET), '{"customerId":42,"fullName":"[redacted]"}', {STREAM: {"fullName": SECRET}}),
        (
            Model(**{"for": STREAM, "fullName": SECRET, "born": dt.date(1815, 12, 10)}),  # type: ignore[arg-type]
            '{"for":"customer-42","fullName":"[redacted]","born":null}',
            {STREAM: {"fullName": SECRET, "born": "1815-12-10"}},
        ),
        (marked(str, Personal())(SECRET), '{"field":"[redacted]"}', {STREAM: {"field": SECRET}}),
        (marked(list[str] | None, Personal())([SECRET]), '{"field":null}', {STREAM: {"field": [SECRET]}}),
        (
            marked(Decimal, Personal(redacted=Decimal(0)))(Decimal("1.50")),
            '{"field":"0"}',
            {STREAM: {"field": "1.50"}},
        ),
    ],
)
def test_personal_values_stand_apart_and_redacted_ones_in_their_place(event: Any, data: str, personal: Any) -> None:
    """Of any kind of class, under the names of its JSON; a field or the stream names the subject."""
    encoded = sealable(event)

    assert (encoded.data, msgspec.json.decode(msgspec.json.encode(encoded.personal(STREAM)))) == (data, personal)
    assert SECRET not in repr(encoded)


def test_null_and_redacted_values_belong_to_no_subject() -> None:
    """An event that repeats the redacted value of somebody who was forgotten needs no key."""
    both = marked(str | None, Personal(redacted="gone"))

    assert sealable(both(None)).personal(STREAM) == sealable(both("gone")).personal(STREAM) == {}


def test_one_subject_that_is_named_in_two_ways_is_one() -> None:
    """By a field and by the stream."""
    named = Annotated[str, Personal(subject="customer", kind="customer")]
    cls = make_dataclass("Happened", [("customer", int), ("a", Annotated[str, Personal()]), ("b", named)], frozen=True)

    assert [*sealable(cls(42, "x", "y")).personal(STREAM)[STREAM]] == ["a", "b"]


INNER = make_dataclass("Inner", [("name", Annotated[str, Personal()])], frozen=True)


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (marked(int, Personal()), "Happened.field can hold neither None nor .*: give a value"),
        (marked(int, Personal(redacted="x")), "Happened.field cannot hold redacted='x'"),
        (marked(Decimal, Personal(redacted=float("nan"))), "Happened.field cannot hold redacted=nan"),
        (marked(float, Personal(redacted=float("nan"))), "Happened.field"),
        (marked(Annotated[str, msgspec.Meta(max_length=3)], Personal()), "can hold neither"),
        (marked(str, Personal(subject="who")), "subject='who'.*, which is no field"),
        (marked(str, Personal(subject="field")), "subject='field'.*, which is personal itself"),
        (marked(str, Personal(kind="customer")), "kind='customer'.* goes before the id"),
        (marked(str, Personal), "write Personal"),
        (make_dataclass("Happened", [("field", list[Annotated[str, Personal()]])], frozen=True), "inside of its type"),
        (make_dataclass("Happened", [("field", INNER)], frozen=True), "inside of its type: mark the field itself"),
        (make_dataclass("Happened", [("field", dict[str, INNER])], frozen=True), "inside of its type"),  # type: ignore[valid-type]
    ],
)
def test_a_mark_that_could_not_be_kept_is_refused_at_registration(cls: type, words: str) -> None:
    """With the field and the remedy: a marked field is never written in plain text."""
    with pytest.raises(CatalogError, match=words):
        catalog_of(cls)


def test_a_struct_without_names_in_its_json_cannot_have_personal_fields() -> None:
    """Values are found by their names."""

    class Happened(msgspec.Struct, frozen=True, array_like=True):
        name: Annotated[str, Personal()]

    with pytest.raises(CatalogError, match="array_like"):
        catalog_of(Happened)


@pytest.mark.parametrize("subject", [None, "", "\n", "x" * 201])
def test_personal_data_of_nobody_is_refused(subject: str | None) -> None:
    """The subject's field must hold an id; the personal value is not shown."""
    cls = marked(str, Personal(subject="who"), ("who", str | None))

    with pytest.raises(
        InvalidEvent, match="'who' must name the subject of the personal data in 'field', but holds no id"
    ) as refused:
        catalog_of(cls).encode(cls(SECRET, subject))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("hint", "value"),
    [(str, f"{SECRET}\x00"), (str, 5), (str, f"{SECRET}\ud800"), (dict[str, int], {SECRET: "x"}), (Any, (SECRET,))],
)
def test_a_refused_event_with_personal_fields_names_the_field_and_shows_nothing(hint: Any, value: Any) -> None:
    """The message may be logged."""
    cls = make_dataclass("Happened", [("name", Annotated[str, Personal()]), ("other", hint)], frozen=True)

    with pytest.raises(InvalidEvent, match="Happened: field 'other' holds what") as refused:
        catalog_of(cls).encode(cls(SECRET, value))
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None


def test_an_undecodable_event_with_personal_fields_shows_nothing() -> None:
    """Nor does the error of its upcaster."""
    catalog = Catalog("crm")
    catalog.event(version=2, name="Happened")(cls := marked(str, Personal()))
    catalog.upcast(cls, from_version=1)(lambda data: {"field": data[data["field"]]})

    for version, data in ((2, f'{{"field":["{SECRET}"]}}'), (1, f'{{"field":"{SECRET}"}}')):
        event = an_encoded(data, schema_version=version)
        event.opened = True
        with pytest.raises(UndecodableEvent) as refused:
            catalog.decode(event)
        assert SECRET not in str(refused.value)


def test_redacted_values_that_break_a_rule_of_the_class_are_found_at_the_append() -> None:
    """An accepted event can be read when its subject is forgotten."""

    class Stay(pydantic.BaseModel):
        came: Annotated[int, Personal(redacted=0)]
        left: int

        @pydantic.model_validator(mode="after")
        def came_before(self) -> "Stay":
            if self.came == 0:
                raise ValueError("nobody comes at 0")
            return self

    with pytest.raises(InvalidEvent, match="Stay could not be read once its subject is forgotten"):
        catalog_of(Stay).encode(Stay(came=1, left=2))


def test_the_limit_counts_sealed_bytes() -> None:
    """A third is added in base64."""
    catalog = Catalog("crm", max_bytes=2_000)
    catalog.event(name="Happened")(cls := marked(str, Personal()))

    assert catalog.encode(cls("x" * 900))
    with pytest.raises(EventTooLarge, match="the limit is 2,000"):
        catalog.encode(cls("x" * 1_500))


# --- sealing, and the keys


def an_encoded(data: bytes | str, **place: Any) -> EncodedEvent:
    """Return an event as it is stored."""
    given = {"id": "e1", "source": "crm", "stream": STREAM, "version": 1, "type": "Happened"}
    return EncodedEvent(**{**given, **place}, data=data, time="2026-01-01T00:00:00Z")


PLACE = SealingContext("crm", STREAM, "e1", "Happened", 1)
KEYS = {STREAM: SubjectKey.of("k1", b"k" * 32)}


def sealed() -> str:
    """Return sealed data."""
    return sealed_data(sealable(marked(str, Personal())(SECRET)), PLACE, KEYS)


def opened(event: EncodedEvent, *, forgotten: bool = False) -> bytes:
    """Open an event."""
    found = sealed_in(event)
    assert found is not None
    return opened_data(event, found, {SubjectKeyId(STREAM, "k1"): None if forgotten else KEYS[STREAM].cipher})


def test_a_sealed_value_opens_in_its_place_alone() -> None:
    """The source, the stream, the event's id, its type and version are authenticated with it."""
    assert opened(an_encoded(sealed())) == f'{{"field":"{SECRET}"}}'.encode()
    assert SECRET not in sealed()
    for other in ({"source": "x"}, {"stream": "customer-43"}, {"id": "e2"}, {"type": "X"}, {"schema_version": 2}):
        with pytest.raises(UndecodableEvent, match="was changed, or belongs to another event"):
            opened(an_encoded(sealed(), **other))


def test_without_its_key_it_stays_redacted() -> None:
    """A key that was destroyed."""
    assert opened(an_encoded(sealed()), forgotten=True) == b'{"field":"[redacted]"}'


@pytest.mark.parametrize("change", [lambda text: text.replace('"key":"k1"', '"key":1'), lambda _: '{"$personal":5}'])
def test_a_member_that_cannot_be_read_is_undecodable(change: Any) -> None:
    """It is parked, not taken for redacted."""
    with pytest.raises(UndecodableEvent, match="its sealed values cannot be read"):
        opened(an_encoded(change(sealed())))


def test_a_reader_without_keys_decodes_sealed_data_with_the_same_class() -> None:
    """Any reader, in another service or language, finds redacted values in its fields."""
    cls = marked(str, Personal())

    assert catalog_of(cls).decode_data("crm", "Happened", 1, sealed()) == cls("[redacted]")


@pytest.mark.parametrize("strict", [True, False])
def test_a_class_that_forbids_unknown_fields_reads_it_too(strict: bool) -> None:  # noqa: FBT001 a parameter of the test
    """The sealed part is no field of the class."""

    class Other(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        field: str

    class Another(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")
        field: str

    cls: Any = Other if strict else Another
    assert catalog_of(cls).decode_data("crm", "Happened", 1, sealed()).field == "[redacted]"
    with pytest.raises(UndecodableEvent):
        catalog_of(cls).decode_data("crm", "Happened", 1, '{"field":"$personal","x":"\\"$personal\\""}')


def test_an_upcaster_never_sees_sealed_values() -> None:
    """It gets the fields of its version."""
    catalog = Catalog("crm")
    catalog.event(version=2, name="Happened")(cls := marked(str, Personal()))
    catalog.upcast(cls, from_version=1)(lambda data: {name: value.upper() for name, value in data.items()})

    assert catalog.decode_data("crm", "Happened", 1, sealed()).field == "[REDACTED]"


def test_the_length_of_a_sealed_value_reveals_little() -> None:
    """Values are padded to the next 32 bytes."""
    cls = marked(str, Personal())
    lengths = {len(sealed_data(sealable(cls("x" * n)), PLACE, KEYS)) for n in range(1, 18)}

    assert len(lengths) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no master key is given"),
        ("2026", "master key '2026' cannot be used|number 1 cannot be read"),
        (f"2026:{SECRET}", "number 1 cannot be read"),
        (f"2026:{base64.b64encode(b'short').decode()}", "'2026' cannot be used"),
        (f"a b:{base64.b64encode(b'k' * 32).decode()}", "'a b' cannot be used"),
        (",".join([MasterKeys.generate("a")] * 2), "'a' is there twice"),
    ],
    ids=["none", "bare", "unreadable", "short", "spaced", "twice"],  # a key is another in each process that runs tests
)
def test_a_master_key_that_cannot_be_used_is_refused_and_never_shown(text: str, words: str) -> None:
    """By its number or its id."""
    with pytest.raises(ConfigurationError, match=words) as refused:
        MasterKeys.parse(text)
    assert SECRET not in str(refused.value)


def test_a_subjects_key_is_unwrapped_by_the_master_key_that_wrapped_it() -> None:
    """For its subject and id alone; another is a sentence about settings, never a redacted value."""
    old, new = MasterKeys.generate("old"), MasterKeys.generate("new")
    wrapped = MasterKeys.parse(old).wrap(b"k" * 32, STREAM, "k1")
    both = MasterKeys.parse(f"{new}, {old}")

    assert (both.unwrap(wrapped, "old", STREAM, "k1"), both.current) == (b"k" * 32, "new")
    assert repr(both) == "<MasterKeys new, old>"
    for subject, key_id in (("customer-43", "k1"), (STREAM, "k2")):
        with pytest.raises(ConfigurationError, match="does not unwrap the key of subject"):
            both.unwrap(wrapped, "old", subject, key_id)
    with pytest.raises(ConfigurationError, match=r"wrapped by the master key 'old', which is not among .* \(new"):
        MasterKeys.parse(new).unwrap(wrapped, "old", STREAM, "k1")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catalogs with personal fields work without it; sealing does not."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)

    assert sealable(marked(str, Personal())(SECRET))
    with pytest.raises(ConfigurationError, match=r"pip install 'eventkit-outbox\[privacy\]'"):
        cipher(b"k" * 32)


@dataclass(frozen=True)
class Plain:
    """Nothing personal."""

    field: str


def test_an_event_without_personal_fields_is_encoded_as_ever() -> None:
    """Nothing is split or checked twice."""
    encoded = catalog_of(Plain).encode(Plain("$personal"))

    assert type(encoded) is not Sealable
    assert sealed_in(an_encoded(encoded.data)) is None
