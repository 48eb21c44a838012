"""`eventkit catalog check`: compare a catalog with the last release's export before a release."""

import json
import sys
from pathlib import Path

import click

from eventkit.cli.catalog.options import CATALOG, EXAMPLES, load_catalog
from eventkit.cli.common.output import say
from eventkit.errors import ConfigurationError


@click.command(name="check", epilog=EXAMPLES, short_help="List what a release would break; exit 1 if anything.")
@CATALOG
@click.option("--against", metavar="OLD", help="The file that `export` wrote at the last release; - is stdin.")
@click.option(
    "--for",
    "concern",
    type=click.Choice(["old-events", "old-readers", "both"]),
    default="both",
    show_default=True,
    help="Old events that new code reads, or old code that reads new events.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")
def check(path: str, against: str | None, concern: str, *, as_json: bool) -> None:
    """Check that a catalog can read its old events, and list the changes that break something AGAINST an older one.

    Personal data that the new catalog would write in plain text is always listed, with each value of --for.
    Exit code 1 if anything would break, 0 if nothing.
    """
    from eventkit.domain.catalog import breaks, describe, description_of

    catalog = load_catalog(path)
    new = describe(catalog)
    found = breaks(description_of(_text(against), where=against), new) if against else None
    old_events = found.old_events if found and concern != "old-readers" else []
    old_readers = found.old_readers if found and concern != "old-events" else []
    people = found.people if found else []
    compatible = not old_events and not old_readers and not people
    if as_json:
        result = {"catalog": new.catalog, "types": len(new.types), "compatible": compatible}
        say(json.dumps({**result, "old_events": old_events, "old_readers": old_readers, "people": people}))
    else:
        whom = {"old events": old_events, "old readers": old_readers, "people": people}
        lines = [f"{who}: {one}" for who, breaking in whom.items() for one in breaking]
        fine = f"catalog {new.catalog} can read its old events ({len(new.types)} types)"
        say("\n".join(lines) or (f"{fine} and breaks nothing of {against}" if against else fine))
    raise SystemExit(not compatible)


def _text(against: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if against == "-" else Path(against).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{against} cannot be read: {error.strerror}") from error
