"""Exported JSON Schemas accept every event that was sent, and refuse what their class does not hold."""

import json
from typing import Annotated, Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from eventkit import CatalogError, InvalidEvent, Personal
from eventkit.domain.catalog.schema import Definitions, Schema, schema_of
from eventkit.domain.codec import Codec
from tests.domain.catalog.sent import FORMS, MODELS, VALUES, Offer, Sparse, Tree, faults
from tests.domain.codec.campaign import codec, examples
from tests.domain.codec.happenings import Price
from tests.domain.codec.test_codec_roundtrip import as_postgres_gives_it


@pytest.mark.parametrize("form", FORMS)
def test_the_schema_of_a_type_accepts_its_values(form: str) -> None:
    """For each type of docs/events.md, in each kind of class, beside its own schema being well formed."""
    checked = 0
    for kind, values in VALUES:
        try:
            cls = FORMS[form](kind)
            one = Codec(cls)
            sent = [one.encode(cls(field=value)) for value in values]
        except (pydantic.errors.PydanticUserError, CatalogError, InvalidEvent, pydantic.ValidationError):
            assert form == "pydantic", kind  # some types are msgspec's alone
            continue
        Draft202012Validator.check_schema(schema_of(cls))
        assert [[*faults(schema_of(cls), text)] for text in sent] == [[]] * len(sent), (kind, sent)
        checked += 1
    assert checked > 40


@pytest.mark.parametrize("event", MODELS, ids=lambda event: type(event).__name__)
def test_the_schema_of_a_model_accepts_what_the_model_writes(event: pydantic.BaseModel) -> None:
    """By alias, with its own serializers, in the forms of its configuration."""
    schema = schema_of(type(event))
    Draft202012Validator.check_schema(schema)

    assert [*faults(schema, Codec(type(event)).encode(event))] == []


@given(examples())
def test_any_event_that_is_sent_is_valid(example: tuple[str, Any, Any, Any, Any]) -> None:
    """Any type in any position, from the codec's text and from jsonb's."""
    form, beside, event_id, kind, value = example
    make, one = codec(form, beside, kind)
    try:
        data = one.encode(make(id=event_id, field=value))
    except (InvalidEvent, pydantic.ValidationError):
        return

    schema = schema_of(make)

    assert [*faults(schema, data), *faults(schema, as_postgres_gives_it(data))] == []


@pytest.mark.parametrize(
    ("cls", "data"),
    [
        (Price, {"amount": 1}),
        (Price, {"amount": "1", "currency": "GBP"}),
        (Sparse, {"more": 1}),
        (Tree, {"below": [{"at": "noon"}]}),
        (Offer, {"quote": {"at": "2020-01-02", "amount": "1"}}),
        (Offer, {}),
    ],
)
def test_a_schema_refuses_what_its_class_does_not_hold(cls: type, data: Any) -> None:
    """It is not merely empty."""
    assert [*faults(schema_of(cls), json.dumps(data))]


def closed(kind: str) -> type:
    """Make a class that takes no unknown fields, with a personal one."""
    name = Annotated[str, Personal()]
    if kind == "pydantic":
        return pydantic.create_model("Joined", __config__=pydantic.ConfigDict(extra="forbid"), name=(name, ...))
    return msgspec.defstruct("Joined", [("name", name)], frozen=True, forbid_unknown_fields=True)


@pytest.mark.parametrize("kind", ["pydantic", "struct"])
def test_the_schema_of_personal_data_accepts_the_encrypted_values(kind: str) -> None:
    """The member `$personal` is in the data that is sent, also where the class forbids unknown fields."""
    sealed = '{"name":"[redacted]","$personal":{"customer-42":{"key":"…","fields":{"name":"…"}}}}'

    assert [*faults(schema_of(closed(kind), personal=True), sealed)] == []
    assert [*faults(schema_of(closed(kind)), sealed)]


def test_definitions_of_one_name_stay_apart_and_equal_ones_are_shared() -> None:
    """Also where the difference is in a definition that they refer to."""
    found = Definitions()

    references = [found.add(of_part(kind))["$ref"] for kind in ("integer", "string", "integer")]

    assert references == ["#/$defs/Whole", "#/$defs/Whole_2", "#/$defs/Whole"]
    assert found.schemas["Whole_2"] == {"properties": {"$ref": {"$ref": "#/$defs/Part_2"}}, "default": {"$ref": "a"}}
    assert found.schemas["Part_2"] == {"type": "string"}


def of_part(kind: str) -> Schema:
    """Return a schema with two definitions; a field and a default have the name of a reference."""
    whole = {"properties": {"$ref": {"$ref": "#/$defs/Part"}}, "default": {"$ref": "a"}}
    return {"$ref": "#/$defs/Whole", "$defs": {"Whole": whole, "Part": {"type": kind}}}
