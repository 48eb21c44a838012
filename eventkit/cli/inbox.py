"""`eventkit inbox`: the record of handled messages without a version, by which handlers skip redeliveries."""

import json
from datetime import timedelta

import click

from eventkit.cli.common.durations import read_age
from eventkit.cli.common.output import say
from eventkit.config import Settings

_EXAMPLES = """\b
Examples:
  eventkit inbox prune --older-than 7d --dry-run
  eventkit inbox prune --older-than 7d
  eventkit inbox prune --older-than 12h --handler payments --json

A message that is delivered again after it was pruned takes effect again. Keep messages longer than the broker keeps
unacknowledged ones, and longer than any producer retries.
"""


@click.group(name="inbox", epilog=_EXAMPLES)
def command() -> None:
    """Forget old messages of handlers."""


@command.command(epilog=_EXAMPLES, short_help="Forget messages that were received long ago.")
@click.option("--older-than", "age", callback=read_age, required=True, metavar="AGE", help="90s, 30m, 12h, 7d or 2w.")
@click.option("--handler", metavar="NAME", help="Only messages of these handlers.")
@click.option("--dry-run", is_flag=True, help="Print the number of messages, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")
@click.pass_obj
def prune(settings: Settings, age: timedelta, handler: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Forget messages that were received longer ago than AGE, in batches; dead letters stay."""
    from eventkit.storage.db import connect
    from eventkit.storage.projections import MOST_COUNTED, count_old_messages, prune_inbox

    with connect(settings.require_database(), name="inbox", schema=settings.schema, autocommit=True) as session:
        work = count_old_messages if dry_run else prune_inbox
        count = work(session, settings.schema, age=age, handler=handler)
    more = dry_run and count >= MOST_COUNTED
    if as_json:
        say(json.dumps({"messages": count, "pruned": not dry_run} | ({"more": more} if dry_run else {})))
    else:
        say(f"{'at least ' if more else ''}{count:,} messages {'would be' if dry_run else 'were'} forgotten")
