"""The subjects of a catalog's types, and the schemas that are registered for them."""

from dataclasses import dataclass
from typing import Any

import pytest
from jsonschema import Draft7Validator

from eventkit import Catalog
from eventkit.domain.catalog import describe, problems
from eventkit.errors import CatalogError
from eventkit.registry import SubjectNames, planned_schemas
from tests.registry import releases


@dataclass(frozen=True)
class Moved:
    """With lists whose items have a type by place, and a type that refers to itself."""

    path: tuple[int, str]
    steps: list[tuple[str, float]]
    place: releases.Place
    note: str | None = None


def shop() -> Catalog:
    """Return a catalog with types of a category, of a category without a broker, and of another service."""
    catalog = Catalog("shop", topics={"order": "orders", "draft": None})
    catalog.event(name="Placed", category="order")(releases.Stored)
    catalog.event(name="Drafted", category="draft")(releases.Noted)
    catalog.consumes("depot", "Weighed", releases.Weighed)
    return catalog


@pytest.mark.parametrize(
    ("names", "subject"), [(SubjectNames.RECORD, "shop.Placed"), (SubjectNames.TOPIC_RECORD, "orders-shop.Placed")]
)
def test_own_types_that_go_to_a_broker_have_a_subject(names: SubjectNames, subject: str) -> None:
    """Not those of other services; the title is the name of the record, whatever the subject is."""
    [planned] = planned_schemas(describe(shop()), names)

    assert (planned.subject, planned.schema["title"]) == (subject, "shop.Placed")
    assert planned.schema["x-dataschemaversion"] == 1


def test_a_topic_in_the_subject_needs_a_category() -> None:
    """A type that may be in any category has no one topic."""
    catalog = shop()
    catalog.event(name="Anywhere")(releases.Renamed)

    with pytest.raises(CatalogError, match="Anywhere has no category"):
        planned_schemas(describe(catalog), SubjectNames.TOPIC_RECORD)
    assert "shop.Anywhere" in [planned.subject for planned in planned_schemas(describe(catalog), SubjectNames.RECORD)]


@pytest.mark.parametrize("published", [True, False])
def test_a_catalog_that_goes_to_no_broker_registers_nothing(published: bool) -> None:  # noqa: FBT001
    """No message would name the schemas."""
    catalog = Catalog("shop", published=published)
    catalog.event(releases.Stored)

    assert len(planned_schemas(describe(catalog), SubjectNames.RECORD)) == published


PLACE = {"hall": "h", "beside": {"hall": "i", "beside": None}}


@pytest.mark.parametrize(
    ("change", "valid"),
    [({}, True), ({"path": [1, "a", 2]}, False), ({"path": ["a", 1]}, False), ({"steps": [["a", 1.5], ["b"]]}, False),
     ({"place": {"hall": "h", "beside": {"hall": 7}}}, False), ({"another": 1}, True), ({"note": 7}, False)],
)  # fmt: skip
def test_the_schema_is_of_draft_7(change: dict[str, Any], valid: bool) -> None:  # noqa: FBT001
    """With its root in place, and items by place as that draft has them."""
    catalog = releases.release(Moved)
    [planned] = planned_schemas(describe(catalog), SubjectNames.RECORD)
    Draft7Validator.check_schema(planned.schema)
    data = {"path": [1, "a"], "steps": [["a", 1.5]], "place": PLACE, "note": None, **change}

    assert "$ref" not in planned.schema
    assert Draft7Validator(planned.schema).is_valid(data) == valid


def test_the_comparison_reads_draft_7() -> None:
    """Items by place are compared in both forms."""
    schemas = [
        {"type": "object", "properties": {"a": {"type": "array", "items": [{"type": kind}], "additionalItems": False}}}
        for kind in ("integer", "string")
    ]

    assert problems(schemas[0], schemas[0]) == []
    [problem] = problems(*schemas)
    assert "'a[0]' may hold a string, where an integer is taken" in problem
