"""The new data of a dead letter: written in an editor, and checked before it takes the old one's place."""

import json
from contextlib import suppress

import click

from eventkit.errors import DeadLetterError, EventkitError
from eventkit.storage.letter_list import Filed


def edited(letter: Filed) -> str:
    """Let the operator write the data in an editor, beginning with what is there."""
    old = (letter.data or b"").decode(errors="replace")
    with suppress(ValueError):  # it may be no JSON: that may be what is to be mended
        old = json.dumps(json.loads(old), indent=2, ensure_ascii=False)
    new = click.edit(old, extension=".json")
    if new is None or new.strip() == old.strip():
        raise DeadLetterError(f"dead letter {letter.id} was not changed: nothing was done")
    return new


def confirm_edit(letter: Filed, *, from_stdin: bool) -> None:
    """Ask, unless the data comes from where the answer would."""
    if from_stdin:
        raise click.UsageError("--data - reads what an answer would be read from: say --yes too")
    click.confirm(f"Edit letter {letter.id} and redrive {letter.stream}?", abort=True, err=True)


def check_data(letter: Filed, data: str, catalog: str | None) -> None:
    """Refuse what is no JSON object, and what the catalog cannot make the event's type from."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise DeadLetterError(
            f"the new data of dead letter {letter.id} is no JSON: {error}; nothing was done"
        ) from error
    if not isinstance(value, dict):
        raise DeadLetterError(f"the new data of dead letter {letter.id} is no JSON object")
    if catalog is not None:
        _check_type(letter, data, catalog)


def _check_type(letter: Filed, data: str, path: str) -> None:
    from eventkit.cli.catalog import load_catalog

    catalog = load_catalog(path)
    headers = (letter.event or {}).get("headers", {})
    schema_version = int(headers.get("ce_dataschemaversion", 1))
    try:
        catalog.decode_data(headers.get("ce_source", catalog.name), letter.type, schema_version, data.encode())
    except EventkitError as error:
        raise DeadLetterError(f"the new data of dead letter {letter.id} makes no {letter.type}: {error}") from error
