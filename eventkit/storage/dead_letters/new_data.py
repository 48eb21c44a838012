"""The data of a dead letter as text to edit, and the checks of the new data before it replaces the old."""

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from eventkit.domain.catalog import Catalog
from eventkit.domain.codec import MEMBER, PersonalField, marked
from eventkit.errors import DeadLetterError, EventkitError
from eventkit.storage.dead_letters.query import Filed

_DIGITS = 10  # of a schema version, at most


def editable_text(letter: Filed) -> str:
    """Return a letter's data as text; raise DeadLetterError if it is not UTF-8, because an edit would change it."""
    try:
        return indented((letter.data or b"").decode())
    except UnicodeDecodeError as error:
        raise DeadLetterError(
            f"the data of dead letter {letter.id} is not UTF-8 (byte {error.start + 1}): it cannot be edited as text; "
            "redrive or discard it"
        ) from error


def indented(text: str) -> str:
    """Return JSON indented, if that keeps every value, digit and repeated name; anything else as it is."""
    try:
        pretty = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        pretty.encode()
        return pretty if _exact(pretty) == _exact(text) else text
    except (ValueError, RecursionError):  # no JSON, half a character, or nested too deeply
        return text


def _exact(text: str) -> Any:  # noqa: ANN401 JSON of any shape
    """Return JSON with its numbers as they are written, and its objects as lists of pairs."""
    return json.loads(text, parse_float=str, parse_int=str, object_pairs_hook=list)


def check_data(letter: Filed, data: str, catalog: Catalog | None) -> None:
    """Raise DeadLetterError if the data is no JSON object, or the catalog cannot decode it as the event's type."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise DeadLetterError(
            f"the new data of dead letter {letter.id} is no JSON: {error}; nothing was done"
        ) from error
    except RecursionError as error:
        raise DeadLetterError(
            f"the new data of dead letter {letter.id} is nested too deeply; nothing was done"
        ) from error
    if not isinstance(value, dict):
        raise DeadLetterError(f"the new data of dead letter {letter.id} is no JSON object")
    if catalog is not None:
        _check_personal(letter, value, _check_type(letter, data, catalog))
    elif marked(letter.data or b""):
        raise DeadLetterError(
            f"dead letter {letter.id} has personal data: give --catalog, which names the fields that stay sealed"
        )


def _check_personal(letter: Filed, value: dict[str, Any], fields: Iterable[PersonalField]) -> None:
    """Refuse new personal values: edited data is not encrypted, so they would be stored in plain text."""
    old: dict[str, Any] = {}
    with suppress(ValueError, RecursionError):
        old = json.loads(letter.data or b"{}")
    for field in fields:
        if value.get(field.name) not in (old.get(field.name), json.loads(field.redacted)):
            raise DeadLetterError(
                f"{field.name!r} of dead letter {letter.id} is personal, and would be kept in plain text: leave it as "
                f"it is, its value is sealed in {MEMBER!r}"
            )
    if value.get(MEMBER, old.get(MEMBER)) != old.get(MEMBER):
        raise DeadLetterError(f"{MEMBER!r} of dead letter {letter.id} is sealed: leave it as it is, or leave it out")


def _check_type(letter: Filed, data: str, catalog: Catalog) -> tuple[PersonalField, ...]:
    """Decode the data as the letter's event type; return its personal fields."""
    headers = (letter.event or {}).get("headers", {})
    given = str(headers.get("ce_dataschemaversion", 1))
    if not (given.isascii() and given.isdigit() and len(given) < _DIGITS):
        raise DeadLetterError(
            f"dead letter {letter.id} has the schema version {given[:40]!r}, which is no number: it cannot be edited"
        )
    schema_version = int(given)
    try:
        source = headers.get("ce_source", catalog.name)
        event = catalog.decode_data(source, letter.type, schema_version, data.encode())
    except EventkitError as error:
        raise DeadLetterError(f"the new data of dead letter {letter.id} makes no {letter.type}: {error}") from error
    return catalog.personal_fields(type(event))
