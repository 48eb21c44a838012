"""Makes classes for JSON as it comes: a Pydantic model and a Struct for each shape of an object."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec
import pydantic

Make = Callable[[str, dict[str, Any]], Any]


def a_struct(name: str, fields: dict[str, Any]) -> Any:
    """Make a Struct; JSON's names are kept, even those that Python forbids."""
    renamed = {f"f{place}": field for place, field in enumerate(fields)}
    return msgspec.defstruct(
        name, [(own, fields[field]) for own, field in renamed.items()], rename=renamed, frozen=True
    )


def a_model(name: str, fields: dict[str, Any]) -> Any:
    """Make a Pydantic model; texts that are URLs are URLs there."""
    named = {f"f{n}": (kind, pydantic.Field(alias=field)) for n, (field, kind) in enumerate(fields.items())}
    return pydantic.create_model(name, **named)  # type: ignore[call-overload]


def type_of(value: Any, make: Make, name: str = "Payload") -> Any:
    """Return the type of a value; objects get classes of their own."""
    if isinstance(value, dict):
        fields = {field: type_of(part, make, f"{name}_{field}") for field, part in value.items()}
        return make(_identifier(name), fields)
    if isinstance(value, list):
        kinds = {str(sorted(part)) if isinstance(part, dict) else str(type(part)) for part in value}
        return list[type_of(value[0], make, f"{name}_item")] if len(kinds) == 1 and _alike(value) else list[Any]  # type: ignore[misc]
    if isinstance(value, str):
        return _type_of_text(value, make)
    return Any if value is None else type(value)


def _type_of_text(text: str, make: Make) -> Any:
    if make is a_model and text.startswith("https://") and "{" not in text and " " not in text:
        return pydantic.HttpUrl
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        return str
    return dt.datetime if at.tzinfo and text.endswith("Z") and "." not in text else str


def _alike(values: list[Any]) -> bool:
    """Whether one class can hold all: those of an object's parts that are None, a number or a list may differ."""
    return len(values) == 1 or not any(isinstance(value, dict | list) for value in values)


def _identifier(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
