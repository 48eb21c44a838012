"""`eventkit events`: look for events, show the store's sizes, prune sent and applied events, archive streams."""

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from eventkit.cli.common.durations import ago, read_age
from eventkit.cli.common.operator import acting_user
from eventkit.cli.common.output import confirm, number, remark, say
from eventkit.cli.search.find import find, show
from eventkit.cli.search.tail import tail
from eventkit.cli.search.tree import tree
from eventkit.config import Settings

if TYPE_CHECKING:
    import psycopg

    from eventkit.storage.retention import Count, PruneRun
    from eventkit.storage.schema import Sizes

_EXAMPLES = """\b
Examples:
  eventkit events find --stream order-42
  eventkit events tail --category order
  eventkit events sizes
  eventkit events prune --sent --older-than 7d --dry-run
  eventkit events prune --sent --older-than 7d --category order --yes
  eventkit events archive order-42 order-43 --to closed-orders.jsonl
  eventkit events restore closed-orders.jsonl

Pruning keeps every event that is unsent, or that a projection of this database has not applied. Projections in other
databases cannot be seen from here. Repairs and rebuilds cannot read pruned events.
"""

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")
_AS = click.option("--as", "actor", metavar="NAME", help="The actor for the record (default: your user's name).")
_YES = click.option("--yes", is_flag=True, help="Do not ask.")
_IGNORE = click.option(
    "--ignore-projection", "ignored", multiple=True, metavar="NAME", help="Do not wait for this projection."
)


@click.group(name="events", epilog=_EXAMPLES)
def command() -> None:
    """Look for events, show the store's sizes, prune it, archive streams."""


for each in (find, show, tail, tree):
    command.add_command(each)


@command.command(epilog=_EXAMPLES, short_help="Show how large the tables are.")
@_JSON
@click.pass_obj
def sizes(settings: Settings, *, as_json: bool) -> None:
    """Show rows (estimated), bytes and dead rows of each table, the oldest event, and the number of unsent events."""
    from eventkit.storage.schema import table_sizes as look

    with _connected(settings) as connection:
        found = look(connection, settings.schema)
    if as_json:
        say(json.dumps(msgspec.to_builtins(found)))
    else:
        _print_sizes(found)


@command.command(epilog=_EXAMPLES, short_help="Delete events that were sent and applied.")
@click.option("--sent", is_flag=True, required=True, expose_value=False, help="Only events that were sent; required.")
@click.option("--older-than", "age", callback=read_age, required=True, metavar="AGE", help="12h, 7d, 2w.")
@click.option("--category", metavar="NAME", help="Of the streams of this category alone.")
@_IGNORE
@click.option("--batch", type=click.IntRange(1, 100_000), default=1_000, show_default=True, help="Events at once.")
@click.option("--dry-run", is_flag=True, help="Print the number of events, and do nothing.")
@_YES
@_AS
@_JSON
@click.pass_obj
def prune(  # noqa: PLR0913 one parameter an option
    settings: Settings, *, age: timedelta, category: str | None, ignored: tuple[str, ...], batch: int,
    dry_run: bool, yes: bool, actor: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Delete events that were sent, that all projections have applied, and that are old enough, in batches.

    Each stream is pruned from its beginning; its version stays. A stopped run keeps the batches that are committed.
    Appends, relay and projectors may run at the same time.
    """
    from eventkit.storage.retention import PruneRun, Which, long_ago

    with _connected(settings) as connection:
        which = Which(before=long_ago(connection, age), category=category, ignored=ignored)
        pruning = PruneRun(connection, settings.schema, which, actor=actor or acting_user())
        counts = pruning.count()
        total = sum(count.prunable for count in counts)
        if pruning.unsent is not None:
            remark(f"nothing is pruned: {pruning.unsent}")
        if not as_json:
            _print_counts(counts, pruning)
        idle = dry_run or not (total or pruning.more)
        pruned = 0 if idle else _prune(pruning, total, batch=batch, yes=yes)
    if as_json:
        found = {"more": pruning.more, "categories": msgspec.to_builtins(counts)}
        say(json.dumps({"dry_run": dry_run, "pruned": pruned, **found}))
    else:
        would = f"would prune {_at_least(pruning)}{number(total, 'event')}; nothing was done"
        say(would if idle else f"{number(pruned, 'event')} pruned")


@command.command(epilog=_EXAMPLES, short_help="Close streams, and move their events into a file.")
@click.argument("streams", nargs=-1, required=True, metavar="STREAM...")
@click.option("--to", "file", required=True, type=click.Path(path_type=Path, dir_okay=False), help="A new file.")
@_IGNORE
@_YES
@_AS
@_JSON
@click.pass_obj
def archive(  # noqa: PLR0913 one parameter an option
    settings: Settings, streams: tuple[str, ...], *, file: Path, ignored: tuple[str, ...], yes: bool,
    actor: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Close streams: move their events into a file, one JSON object a line, all or none.

    An append to a closed stream raises StreamClosed. `restore` opens it again.
    """
    from eventkit.storage.retention import Archive

    with _connected(settings) as connection:
        if not yes:
            confirm(f"Close {number(len(set(streams)), 'stream')} and archive the events?")
        count = Archive(connection, settings.schema, actor=actor or acting_user()).close(streams, file, ignored=ignored)
    if as_json:
        say(json.dumps({"streams": len(set(streams)), "events": count, "file": str(file)}))
    else:
        say(f"{number(count, 'event')} of {number(len(set(streams)), 'stream')} are in {file}, and closed")


@command.command(epilog=_EXAMPLES, short_help="Put archived events back.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_JSON
@click.pass_obj
def restore(settings: Settings, file: Path, *, as_json: bool) -> None:
    """Put the events of an archive back into the store, and open their streams again; nothing is sent again."""
    from eventkit.storage.retention import Archive

    with _connected(settings) as connection:
        streams = Archive(connection, settings.schema, actor=acting_user()).restore(file)
    open_again = "is" if len(streams) == 1 else "are"
    say(json.dumps({"streams": streams}) if as_json else f"{', '.join(streams)} {open_again} open again")


def _connected(settings: Settings) -> "psycopg.Connection[Any]":
    from eventkit.storage.db import connect

    options = {"lock_timeout": "10s", "TimeZone": "UTC"}
    return connect(settings.require_database(), name="events", schema=settings.schema, autocommit=True, options=options)


def _at_least(pruning: "PruneRun") -> str:
    return "at least " if pruning.more else ""


def _print_counts(counts: "list[Count]", pruning: "PruneRun") -> None:
    for count in counts:
        left = f", {count.unsent:,} are unsent" if count.unsent else ""
        left += f", {count.unapplied:,} are not applied everywhere" if count.unapplied else ""
        say(f"{count.category}: {number(count.prunable, 'event')} can go{left}")
    if pruning.more:
        say("that is of the oldest 50,000 events: there are more that are old enough")
    if any(count.unapplied for count in counts):
        say(
            f"projections that have not applied everything: {', '.join(pruning.waited_for())} "
            "(--ignore-projection for one that does not read these streams)"
        )


def _prune(pruning: "PruneRun", total: int, *, batch: int, yes: bool) -> int:
    """Ask, then prune with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    if not yes:
        unseen = "Projections in other databases cannot be seen from here"
        confirm(f"Prune {_at_least(pruning)}{number(total, 'event')}? {unseen}")
    pruned = 0
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("pruning", total=None if pruning.more else total)
        for count in pruning.batches(batch):
            pruned += count
            progress.update(task, completed=pruned)
    return pruned


def _print_sizes(found: "Sizes") -> None:
    from rich.filesize import decimal

    from eventkit.cli.common import tables

    numbers = ("rows (about)", "size", "dead rows")
    table = tables.new_table("table", *numbers, right=numbers)
    for item in found.tables:
        tables.add_row(table, item.name, f"{item.rows:,}", decimal(item.bytes), f"{item.dead_rows:,}")
    tables.show(table)
    oldest = f"the oldest event was recorded {ago(found.oldest_event)} ago" if found.oldest_event else "no events"
    since = f", the oldest for {ago(found.oldest_unsent)}" if found.oldest_unsent else ""
    say(f"{oldest}; {number(found.unsent, 'event')} unsent{since}; {number(found.dead_letters, 'dead letter')}")
