"""`eventkit dead-letters`: events that could not be published or applied, and an operator's actions on them.

The commands take the relay's letters and those of every projection whose checkpoints are in this database alike. The
log records each action with its actor, before and after. A command changes no more letters than were confirmed.
"""

import itertools
import json
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID

import click

from eventkit.cli.common.operator import acting_user
from eventkit.cli.common.output import number, remark, say, say_each
from eventkit.cli.dead_letters.letters import check_named, connect_to_letters, find, open_letters
from eventkit.cli.dead_letters.options import (
    ALL,
    AS,
    DRY,
    EXAMPLES,
    JSON,
    LETTER,
    PAYLOAD,
    SHOWN,
    YES,
    confirmed,
    selects,
    wanted,
)
from eventkit.cli.dead_letters.redrive import redrive
from eventkit.config import Settings
from eventkit.errors import DeadLetterError

if TYPE_CHECKING:
    from eventkit.storage.dead_letters import LetterActions, LetterQuery

_MAX_RESULTS = 10_000  # letters in the JSON of a discard
_DATA = click.File("r", encoding="utf-8")


@click.group(name="dead-letters", epilog=EXAMPLES)
def command() -> None:
    """Show, redrive, edit and discard dead letters."""


command.add_command(redrive)


@command.command(name="list", epilog=EXAMPLES, short_help="Show the letters.")
@selects
@SHOWN
@PAYLOAD
@JSON
@click.pass_obj
def list_(settings: Settings, /, *, limit: int, payload: bool, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401 the options above
    """Show the letters, sorted by projection or relay, stream and version."""
    from eventkit.cli.dead_letters import show

    there = open_letters(settings)
    which = wanted(**chosen)
    there.check(which)
    found = there.list(which, limit=limit)
    count, more = there.count(which)
    letters = there.in_full(found) if payload else iter(found)
    if as_json:
        objects = (_json(show.as_json(letter, payload=payload)) for letter in letters)
        say_each(objects, before=f'{_json({"count": count, "more": more})[:-1]}, "letters": [', between=", ")
        say("]}")
    elif payload and found:
        say_each(show.in_full(letter, payload=True) for letter in letters)
        say()
        if count > len(found):
            remark(f"... and {count - len(found):,}{' or' if more else ''} more (--limit)")
    elif found:
        show.table(found, count - len(found), more=more)
    else:
        say("no dead letters")


@command.command(name="show", epilog=EXAMPLES, short_help="Show one letter in full.")
@click.argument("letter", type=LETTER)
@PAYLOAD
@JSON
@click.pass_obj
def show_(settings: Settings, letter: int | UUID, *, payload: bool, as_json: bool) -> None:
    """Show a letter in full: its error, its origin, and its data, which is masked without --payload."""
    from eventkit.cli.dead_letters import show

    there = open_letters(settings)
    found = find(there, letter)
    if as_json:
        say(json.dumps({"letters": [show.as_json(item, payload=payload) for item in found]}, ensure_ascii=False))
    else:
        say("\n\n".join(show.in_full(item, payload=payload) for item in found))


@command.command(epilog=EXAMPLES, short_help="Change a letter's data, and redrive it.")
@click.argument("letter", type=LETTER)
@click.option("--data", type=_DATA, help="The new data, JSON; - is standard input (default: your editor).")
@click.option("--catalog", metavar="PACKAGE.MODULE:CATALOG", help="Check it against the event types of this catalog.")
@DRY
@YES
@AS
@JSON
@click.pass_obj
def edit(  # noqa: PLR0913 one parameter an option
    settings: Settings, letter: int | UUID, *, data: IO[str] | None, catalog: str | None, dry_run: bool, yes: bool,
    actor: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Replace a letter's data and try its stream again; the log keeps the old data.

    An edited letter of a projection changes that projection only: the event in the store stays, and a rebuild reads it.
    An edited letter of the relay changes the event for all readers, also for repairs and rebuilds.
    """
    from eventkit.cli.catalog.options import load_catalog
    from eventkit.cli.dead_letters.edit import confirm_edit, edited, read_data
    from eventkit.storage.dead_letters import check_data

    there, acting = _open(settings, actor)
    found = find(there, letter)
    if len(found) != 1:
        numbers = ", ".join(str(item.id) for item in found)
        raise DeadLetterError(f"event {letter} has {len(found)} letters: edit one of {numbers}")
    new = edited(found[0]) if data is None else read_data(data)
    check_data(found[0], new, load_catalog(catalog) if catalog else None)
    if not (dry_run or yes):
        confirm_edit(found[0], from_stdin=data is not None and data.name == "<stdin>")
    if not dry_run:
        acting.edit(found[0].id, found[0].parked_by, found[0].stream, new)
    if as_json:
        say(json.dumps({"dry_run": dry_run, "letter": found[0].id, "stream": found[0].stream}))
    elif dry_run:
        say(f"letter {found[0].id} would be edited and its stream {found[0].stream} redriven; nothing was done")
    else:
        say(f"letter {found[0].id} is edited, {found[0].stream} is to be redriven")


@command.command(epilog=EXAMPLES, short_help="Skip events for good.")
@selects
@ALL
@DRY
@YES
@AS
@JSON
@click.pass_obj
def discard(
    settings: Settings, /, *, everything: bool, dry_run: bool, yes: bool, actor: str | None, as_json: bool,
    **chosen: Any,  # noqa: ANN401 the options above
) -> None:  # fmt: skip
    """Skip events for good: they have no effect, and the later events of their streams are applied.

    A projection's checkpoint advances past the event; a rebuild reads it again. The relay publishes a tombstone in its
    place, and readers of the store get the tombstone, too.
    """
    there, acting = _open(settings, actor)
    which = wanted(everything=everything, **chosen)
    there.check(which)
    check_named(there, which)
    pages = there.pages(which)
    first = next(pages)
    if not confirmed("discard", first, dry_run=dry_run, yes=yes, as_json=as_json):
        return
    done, refused = 0, 0
    results: dict[int, str] = {}
    for page in itertools.chain([first], pages):
        for (parked_by, stream), ids in page.streams.items():
            for outcome in acting.discard(parked_by, stream, ids):
                done, refused = done + outcome.done, refused + (not outcome.done)
                if len(results) < _MAX_RESULTS:
                    results[outcome.letter] = outcome.result
                if not outcome.done and not as_json:
                    remark(f"letter {outcome.letter} stays: it {outcome.result}")
    if as_json:
        say(json.dumps({"discarded": done, "refused": refused, "results": results}))
    else:
        say(f"{number(done, 'letter')} discarded")
    raise SystemExit(bool(refused))


@command.command(epilog=EXAMPLES, short_help="Show the actions on letters.")
@selects
@SHOWN
@PAYLOAD
@JSON
@click.pass_obj
def log(settings: Settings, /, *, limit: int, payload: bool, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401 the options above
    """Show the actions on letters and their actors, the newest first; --older-than is the age of the action."""
    from eventkit.cli.dead_letters import show

    there = open_letters(settings)
    which = wanted(**chosen)
    there.check(which)
    actions = there.log_in_full(which, limit=limit) if payload else iter(there.log(which, limit=limit))
    first = list(itertools.islice(actions, 1))
    actions = itertools.chain(first, actions)
    if as_json:
        objects = (_json(show.action_as_json(action, payload=payload)) for action in actions)
        say_each(objects, before='{"actions": [', between=", ")
        say("]}")
    elif payload and first:
        say_each(map(show.action_in_full, actions))
        say()
    elif first:
        show.actions_table(list(actions))
    else:
        say("nothing was done to a dead letter")


def _json(found: object) -> str:
    return json.dumps(found, ensure_ascii=False)


def _open(settings: Settings, actor: str | None) -> "tuple[LetterQuery, LetterActions]":
    from eventkit.storage.dead_letters import LetterActions, LetterQuery

    connection, schema = connect_to_letters(settings), settings.schema
    return LetterQuery(connection, schema), LetterActions(connection, schema, actor=actor or acting_user())
