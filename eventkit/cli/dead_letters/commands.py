"""`eventkit dead-letters`: what could not be published or applied, and what an operator does about it.

One form for the relay's letters and for those of every projection whose checkpoints are in this database. Whatever is
done is written down with who did it, before and after; nothing is done to more letters than were confirmed.
"""

import itertools
import json
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID

import click

from eventkit.cli.common.operator import acting_user
from eventkit.cli.common.output import remark, say
from eventkit.cli.dead_letters.options import (
    ALL,
    AS,
    DRY,
    JSON,
    LETTER,
    PAYLOAD,
    SHOWN,
    YES,
    confirmed,
    number,
    selects,
    wanted,
)
from eventkit.config import Settings
from eventkit.errors import DeadLetterError

if TYPE_CHECKING:
    from eventkit.storage.dead_letters import Filed, LetterActions, LetterQuery

_SHOWN = 10_000  # results in the JSON of a discard

_EXAMPLES = """\b
Examples:
  eventkit dead-letters list
  eventkit dead-letters list --by totals --category order --older-than 1h
  eventkit dead-letters show 17 --payload
  eventkit dead-letters redrive --by totals
  eventkit dead-letters redrive --stream order-42 --code shop.read_models:totals
  eventkit dead-letters edit 17 --data mended.json --catalog shop.events:shop
  eventkit dead-letters discard --type OrderNoted --dry-run
  eventkit dead-letters log --stream order-42

A letter parks its stream. A redrive takes up a stream from its first letter on, in order; a discard goes past an event
for good: a projection's checkpoint steps over it, the relay publishes a tombstone in its place.
"""


@click.group(name="dead-letters", epilog=_EXAMPLES)
def command() -> None:
    """See, redrive, edit and discard what could not go on."""


@command.command(name="list", epilog=_EXAMPLES, short_help="Show the letters.")
@selects
@SHOWN
@PAYLOAD
@JSON
@click.pass_obj
def list_(settings: Settings, /, *, limit: int, payload: bool, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401 the options above
    """Show the letters, in order of who parked them, stream and version."""
    from eventkit.cli.dead_letters import show

    there, _ = _open(settings)
    which = wanted(**chosen)
    there.check(which)
    found = there.list(which, limit=limit, payload=payload)
    count, more = there.count(which)
    if as_json:
        objects = [show.as_json(letter, payload=payload) for letter in found]
        say(json.dumps({"count": count, "more": more, "letters": objects}, ensure_ascii=False))
    elif payload and found:
        say("\n\n".join(show.in_full(letter, payload=True) for letter in found))
        if count > len(found):
            remark(f"... and {count - len(found):,}{' or' if more else ''} more (--limit)")
    elif found:
        show.table(found, count - len(found), more=more)
    else:
        say("no dead letters")


@command.command(name="show", epilog=_EXAMPLES, short_help="Show one letter in full.")
@click.argument("letter", type=LETTER)
@PAYLOAD
@JSON
@click.pass_obj
def show_(settings: Settings, letter: int | UUID, *, payload: bool, as_json: bool) -> None:
    """Show a letter in full: why it is there, where it came from, and what it says, masked unless --payload."""
    from eventkit.cli.dead_letters import show

    there, _ = _open(settings)
    found = _found(there, letter)
    if as_json:
        say(json.dumps({"letters": [show.as_json(item, payload=payload) for item in found]}, ensure_ascii=False))
    else:
        say("\n\n".join(show.in_full(item, payload=payload) for item in found))


@command.command(epilog=_EXAMPLES, short_help="Try parked streams again.")
@selects
@ALL
@click.option("--code", "paths", multiple=True, metavar="PACKAGE.MODULE:PROJECTION", help="Apply here, by this code.")
@click.option(
    "--wait", type=click.FloatRange(min=0), default=10, show_default=True, help="Seconds to wait for projectors."
)
@DRY
@YES
@AS
@JSON
@click.pass_obj
def redrive(  # noqa: PLR0913 one parameter an option
    settings: Settings, /, *, everything: bool, paths: tuple[str, ...], wait: float, dry_run: bool, yes: bool,
    actor: str | None, as_json: bool,
    **chosen: Any,  # noqa: ANN401 the options above
) -> None:  # fmt: skip
    """Let parked streams be tried again, each from its first letter on, in order.

    The projectors that run take it up within a second, with the code that they have; without one it waits until one
    is started, or say --code: then that code does it, here, and no other. The relay reads its streams again from their
    first unsent event. Exit code 1 where letters are left, or nobody has taken the request up in time.
    """
    from eventkit.cli.dead_letters.redrive import await_projectors, redrive_here, redriven, tell_left_out
    from eventkit.projection.run import load_projections

    projections = load_projections(paths)  # wrong code is found before anything is asked for
    there, acting = _open(settings, actor)
    which = wanted(everything=everything, **chosen)
    there.check(which)
    pages = there.pages(which)
    first = next(pages)
    choice = there.whole_streams(first)
    tell_left_out(first, choice)
    if not confirmed("redrive", choice, dry_run=dry_run, yes=yes, as_json=as_json):
        return
    redrive_here(settings, acting, itertools.chain([first], pages), projections)
    told = await_projectors(there, choice, wait)  # those of the first page stand for the others
    say(json.dumps(told) if as_json else "\n".join(redriven(told)))
    raise SystemExit(told["left"] > 0 or told["waiting_streams"] > 0)


@command.command(epilog=_EXAMPLES, short_help="Change what a letter says, and redrive it.")
@click.argument("letter", type=LETTER)
@click.option("--data", type=click.File("r"), help="The new data, JSON; - is standard input (default: your editor).")
@click.option("--catalog", metavar="PACKAGE.MODULE:CATALOG", help="Check it against the event types of this catalog.")
@DRY
@YES
@AS
@click.pass_obj
def edit(  # noqa: PLR0913 one parameter an option
    settings: Settings, letter: int | UUID, *, data: IO[str] | None, catalog: str | None, dry_run: bool, yes: bool,
    actor: str | None,
) -> None:  # fmt: skip
    """Put other data into a letter and let its stream be tried again; what it said before stays in the record.

    A projection's letter is that projection's alone: a rebuild reads the store, where the event stays as it was. The
    relay's is everyone's: what readers get from now on, repairs and rebuilds too, is what the letter says now.
    """
    from eventkit.cli.dead_letters.edit import check_data, confirm_edit, edited

    there, acting = _open(settings, actor)
    found = _found(there, letter)
    if len(found) != 1:
        numbers = ", ".join(str(item.id) for item in found)
        raise DeadLetterError(f"event {letter} has {len(found)} letters: edit one of {numbers}")
    new = edited(found[0]) if data is None else data.read()
    check_data(found[0], new, catalog)
    if dry_run:
        say(f"letter {found[0].id} would be edited and its stream {found[0].stream} redriven; nothing was done")
        return
    if not yes:
        confirm_edit(found[0], from_stdin=data is not None and data.name == "<stdin>")
    acting.edit(found[0].id, found[0].parked_by, found[0].stream, new)
    say(f"letter {found[0].id} is edited, {found[0].stream} is to be redriven")


@command.command(epilog=_EXAMPLES, short_help="Go past events for good.")
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
    """Go past events for good: they take no effect, and those behind them go on.

    A projection's checkpoint steps over the event; a rebuild will meet it again. For the relay a tombstone is
    published in its place, and readers of the store get the tombstone too.
    """
    there, acting = _open(settings, actor)
    which = wanted(everything=everything, **chosen)
    there.check(which)
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
                if len(results) < _SHOWN:
                    results[outcome.letter] = outcome.result
                if not outcome.done and not as_json:
                    remark(f"letter {outcome.letter} stays: it {outcome.result}")
    if as_json:
        say(json.dumps({"discarded": done, "refused": refused, "results": results}))
    else:
        say(f"{number(done, 'letter')} discarded")
    raise SystemExit(bool(refused))


@command.command(epilog=_EXAMPLES, short_help="Show who did what.")
@selects
@SHOWN
@PAYLOAD
@JSON
@click.pass_obj
def log(settings: Settings, /, *, limit: int, payload: bool, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401 the options above
    """Show who did what to letters, the newest first; ages are those of the actions."""
    from eventkit.cli.dead_letters import show

    there, _ = _open(settings)
    which = wanted(**chosen)
    there.check(which)
    actions = there.log(which, limit=limit, payload=payload)
    if as_json:
        objects = [show.action_as_json(action, payload=payload) for action in actions]
        say(json.dumps({"actions": objects}, ensure_ascii=False))
    elif payload and actions:
        say("\n\n".join(map(show.action_in_full, actions)))
    elif actions:
        show.actions_table(actions)
    else:
        say("nothing was done to a dead letter")


def _open(settings: Settings, actor: str | None = None) -> "tuple[LetterQuery, LetterActions]":
    from eventkit.storage.db import connect
    from eventkit.storage.dead_letters import LetterActions, LetterQuery

    options = {"lock_timeout": "10s"}
    connection = connect(
        settings.require_database(), name="dead-letters", schema=settings.schema, autocommit=True, options=options
    )
    return LetterQuery(connection, settings.schema), LetterActions(
        connection, settings.schema, actor=actor or acting_user()
    )


def _found(there: "LetterQuery", letter: int | UUID) -> "list[Filed]":
    """Return a letter, or those of an event."""
    from eventkit.storage.dead_letters import LetterFilter

    by_id = LetterFilter(ids=[letter]) if isinstance(letter, int) else LetterFilter(event_ids=[letter])
    found = there.list(by_id, payload=True)
    if not found:
        raise DeadLetterError(f"there is no dead letter {letter}: it was redriven or discarded, or is elsewhere")
    return found
