"""The letters of the database for a command, and the ones that it names."""

from typing import TYPE_CHECKING
from uuid import UUID

from eventkit.config import Settings
from eventkit.errors import DeadLetterError

if TYPE_CHECKING:
    from typing import Any

    import psycopg

    from eventkit.storage.dead_letters import Filed, LetterFilter, LetterQuery


def connect_to_letters(settings: Settings) -> "psycopg.Connection[Any]":
    """Return an autocommit connection for an operator's actions."""
    from eventkit.storage.db import connect

    options = {"lock_timeout": "10s"}
    return connect(
        settings.require_database(), name="dead-letters", schema=settings.schema, autocommit=True, options=options
    )


def open_letters(settings: Settings) -> "LetterQuery":
    """Return the letters on a connection of their own."""
    from eventkit.storage.dead_letters import LetterQuery

    return LetterQuery(connect_to_letters(settings), settings.schema)


def find(there: "LetterQuery", letter: int | UUID) -> "list[Filed]":
    """Return a letter, or those of an event."""
    from eventkit.storage.dead_letters import LetterFilter

    by_id = LetterFilter(ids=[letter]) if isinstance(letter, int) else LetterFilter(event_ids=[letter])
    found = there.list(by_id, payload=True)
    if not found:
        raise _missing(letter)
    return found


def check_named(there: "LetterQuery", which: "LetterFilter") -> None:
    """Raise DeadLetterError if one of the letters that are named is not there; nothing is done then."""
    from eventkit.storage.dead_letters import LetterFilter

    if which.ids:
        known: set[int | UUID] = {letter.id for letter in there.list(LetterFilter(ids=which.ids))}
    elif which.event_ids:
        known = {letter.event_id for letter in there.list(LetterFilter(event_ids=which.event_ids))}
    else:
        return
    named: list[int | UUID] = [*(which.ids or ()), *(which.event_ids or ())]
    for letter in named:
        if letter not in known:
            raise _missing(letter)


def _missing(letter: int | UUID) -> DeadLetterError:
    return DeadLetterError(f"there is no dead letter {letter}: it was redriven or discarded, or is elsewhere")
