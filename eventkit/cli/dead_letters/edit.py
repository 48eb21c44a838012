"""The new data of a dead letter: written in an editor, and confirmed."""

from typing import IO

import click

from eventkit.cli.common.output import confirm
from eventkit.errors import DeadLetterError
from eventkit.storage.dead_letters import Filed, editable_text


def edited(letter: Filed) -> str:
    """Open an editor with the letter's data; return the new text.

    Raise DeadLetterError if it is unchanged, or the data is no text.
    """
    old = editable_text(letter)
    try:
        new = click.edit(old, extension=".json")
    except (OSError, UnicodeError) as error:
        raise DeadLetterError(f"the data cannot be edited ({error}): give it with --data; nothing was done") from error
    if new is None or new.strip() == old.strip():
        raise DeadLetterError(f"dead letter {letter.id} was not changed: nothing was done")
    return new


def read_data(file: IO[str]) -> str:
    """Return the content of a file; raise DeadLetterError if it is not UTF-8."""
    try:
        return file.read()
    except UnicodeError as error:
        raise DeadLetterError(f"{file.name} is not UTF-8 ({error}): nothing was done") from error


def confirm_edit(letter: Filed, *, from_stdin: bool) -> None:
    """Ask for a confirmation; raise UsageError if stdin holds the data, because the answer would come from it, too."""
    if from_stdin:
        raise click.UsageError("--data - reads stdin, so the answer to a question cannot be read from it: add --yes")
    confirm(f"Edit letter {letter.id} and redrive {letter.stream}?")
