"""`eventkit db`: migrate a database to this version's tables, print its revision, and verify it."""

import json
import re
import time
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from eventkit.cli.common.durations import read_age
from eventkit.cli.common.operator import acting_user
from eventkit.cli.common.output import confirm, remark, say
from eventkit.config import Settings
from eventkit.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventkit.cli.common.following import Ending

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")

_EXAMPLES = """\b
Examples:
  eventkit db upgrade
  eventkit db current
  eventkit db verify
  eventkit db adopt --clone
  eventkit db mode
  eventkit db sql | psql "$EVENTKIT_DATABASE_URL"
  eventkit --schema other db current --json
"""

_MODE_EXAMPLES = """\b
Examples:
  eventkit db mode                 relay, debezium, or a step between
  eventkit db mode debezium        then start the connector of `eventkit debezium config`
  eventkit db mode relay           the relay must run; Connect goes on until it has sent everything
  eventkit db mode relay --again-since 2h --catalog shop.events:shop      its slot is lost, or Connect is
"""
_NO_SLOT = (
    "the mode of publishing is {mode!r}, and Debezium's replication slot did not come with the copy: nobody sends the "
    "events of this database. `eventkit db mode relay --again-since AGE --catalog PACKAGE.MODULE:CATALOG` lets the "
    "relay send those of that age and all later ones"
)
_SWITCH_INTERVAL = 0.2  # seconds
_REPEATED = 10.0  # seconds until a reason is printed again, with its numbers of then


@click.group(name="db", epilog=_EXAMPLES)
def command() -> None:
    """Create, upgrade and check the tables."""


@command.command(epilog=_EXAMPLES, short_help="Create the tables, or bring them up to date.")
@click.argument("revision", default="head")
@_JSON
@click.pass_obj
def upgrade(settings: Settings, revision: str, *, as_json: bool) -> None:
    """Create the tables, or bring them to REVISION (default: the newest).

    One transaction; safe to run from several places at once, and again.
    """
    from eventkit.storage import migrate

    before = migrate.current(settings.require_database(), settings.schema)
    migrate.upgrade(settings.require_database(), settings.schema, revision)
    _print_move(settings, before, as_json=as_json)


@command.command(epilog=_EXAMPLES, short_help="Undo migrations.")
@click.argument("revision", default="-1")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
@click.pass_obj
def downgrade(settings: Settings, revision: str, *, yes: bool, as_json: bool) -> None:
    """Undo migrations down to REVISION (default: one; all: base).

    The rows of the tables are deleted with them.
    """
    from eventkit.storage import migrate

    url = settings.require_database()
    _refuse_with_slot(settings)
    before = migrate.current(url, settings.schema)
    if not yes:
        confirm(f"Undo migrations of schema {settings.schema!r} down to {revision}? Its events go with the tables")
    migrate.downgrade(url, settings.schema, revision)
    _print_move(settings, before, as_json=as_json)


@command.command(epilog=_EXAMPLES, short_help="Print the revision; exit 1 unless it is the newest.")
@_JSON
@click.pass_obj
def current(settings: Settings, *, as_json: bool) -> None:
    """Print the revision that the database is at; exit 1 unless it is the newest."""
    from eventkit.storage import migrate
    from eventkit.storage.tables import REVISIONS

    at = migrate.current(settings.require_database(), settings.schema)
    if as_json:
        say(json.dumps({"schema": settings.schema, "revision": at, "newest": REVISIONS[-1]}))
    else:
        wanted = "the newest" if at == REVISIONS[-1] else f"the newest is {REVISIONS[-1]}: run `eventkit db upgrade`"
        say(f"schema {settings.schema} is at {at or 'no revision'}, {wanted}")
    raise SystemExit(at != REVISIONS[-1])


@command.command(epilog=_EXAMPLES, short_help="List differences; exit 1 if there are any.")
@_JSON
@click.pass_obj
def verify(settings: Settings, *, as_json: bool) -> None:
    """Compare the database with this version's tables; list the differences, and exit 1 if there are any."""
    from eventkit.storage.schema import differences, notes

    found = differences(settings.require_database(), settings.schema)
    known = notes(settings.require_database(), settings.schema)
    if as_json:
        say(json.dumps({"schema": settings.schema, "differences": found, "notes": known}))
    else:
        for note in known:
            say(f"note: {note}")
        say("\n".join(found) or f"schema {settings.schema} is as it must be")
    raise SystemExit(bool(found))


@command.command(epilog=_EXAMPLES, short_help="Print the statements of an upgrade.")
@click.argument("revision", default="head")
@click.pass_obj
def sql(settings: Settings, revision: str) -> None:
    """Print the statements of an upgrade to REVISION, or of a range such as A:B, without a database."""
    from eventkit.storage import migrate

    say(migrate.sql(settings.schema, revision), nl=False)


@command.command(epilog=_EXAMPLES, short_help="Accept a restored or copied database.")
@click.option(
    "--moved", "kind", flag_value="moved", help="The database that this one was copied from is gone for good."
)
@click.option("--clone", "kind", flag_value="clone", help="The database that this one was copied from is still in use.")
@_JSON
@click.pass_obj
def adopt(settings: Settings, kind: str | None, *, as_json: bool) -> None:
    """Let relay, timers, handlers and process managers work on a database that was restored or copied.

    They stop when the tables are on another server or database than before. A clone becomes a separate installation,
    and its read models and handlers get consumer groups of their own.
    """
    from eventkit.insights import Insights
    from eventkit.storage.db import connect
    from eventkit.storage.schema import adopt as adopt_here

    if kind is None:
        raise click.UsageError("say --moved if the original is gone for good, --clone if it is still in use")
    with connect(settings.require_database(), name="adopt", schema=settings.schema, autocommit=True) as connection:
        found = adopt_here(connection, settings.schema, clone=kind == "clone")
        publisher = Insights(connection, settings.schema).publisher()
    if as_json:
        place = {"system_identifier": found.here.system_identifier, "database_oid": found.here.database_oid}
        say(json.dumps({"schema": settings.schema, "installation": str(found.id), **place}))
    else:
        say(f"schema {settings.schema} is installation {found.id}, on {found.here}")
    if publisher.debezium is not None and publisher.debezium.is_lost:
        remark(_NO_SLOT.format(mode=publisher.mode))


@command.command(epilog=_EXAMPLES, short_help="Print or create roles with the least rights.")
@click.option("--create", is_flag=True, help="Run the statements: as a superuser, or a role that may create roles.")
@click.option("--prefix", default="eventkit_", show_default=True, help="The beginning of the roles' names.")
@_JSON
@click.pass_obj
def roles(settings: Settings, *, create: bool, prefix: str, as_json: bool) -> None:
    """Print the SQL that creates the roles owner, writer, relay, projector, operator, reader and maintenance.

    Only missing statements are printed; exit 1 if there are any. Grant the roles to the users that log in.
    """
    from eventkit.storage.db import connect
    from eventkit.storage.schema import create_roles, role_statements

    with connect(settings.require_database(), name="roles", schema=settings.schema) as connection:
        work = create_roles if create else role_statements
        found = work(connection, settings.schema, prefix)
    if as_json:
        say(json.dumps({"statements": found, "done": create}))
    elif found:
        say("\n".join(f"{statement};" for statement in found))
    else:
        say("the roles are there, with the rights that they need and no others")
    raise SystemExit(bool(found) and not create)


@command.command(epilog=_MODE_EXAMPLES, short_help="Show who sends the events, or change it.")
@click.argument("target", type=click.Choice(["debezium", "relay"]), required=False)
@click.option(
    "--again-since",
    "age",
    callback=read_age,
    metavar="AGE",
    help="Without waiting for Connect, let the relay send all events of this age again: 30m, 12h.",
)
@click.option(
    "--catalog", "catalogs", multiple=True, metavar="PACKAGE.MODULE:CATALOG", help="Knows the topics of these events."
)
@click.option("--as", "actor", metavar="NAME", help="The actor for the record (default: your user's name).")
@_JSON
@click.pass_obj
def mode(
    settings: Settings, target: str | None, *, age: timedelta | None, catalogs: tuple[str, ...], actor: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Show whether the relay or Debezium sends the events; with TARGET, switch while everything runs.

    A switch prints what it waits for. It can be ended at any moment, and begun again or turned back.
    """
    from eventkit.cli.catalog.options import load_catalog
    from eventkit.cli.common.following import until_signalled
    from eventkit.insights import Insights, publisher_words
    from eventkit.storage.db import connect
    from eventkit.storage.debezium import Mode, SendAgain, Switch

    with connect(settings.require_database(), name="mode", schema=settings.schema, autocommit=True) as session:
        if target is not None:
            known = {catalog.name: catalog for catalog in map(load_catalog, catalogs)}
            again = None if age is None else SendAgain(age, known)
            switch = Switch(session, settings.schema, actor=actor or acting_user(), again=again)
            waits = switch.run(Mode(target))
            with until_signalled() as ending:
                _follow(waits, ending)
        found = Insights(session, settings.schema).publisher()
    if as_json:
        say(json.dumps({"schema": settings.schema, **asdict(found)}))
    else:
        say(f"mode: {found.mode}, {publisher_words(found)}")
    raise SystemExit(target is not None and found.mode != target)


def _refuse_with_slot(settings: Settings) -> None:
    """Raise StorageError while Debezium's slot is there: without the tables no command would drop it."""
    from eventkit.storage.db import connect
    from eventkit.storage.debezium import Replication, slot_name

    with connect(settings.require_database(), name="downgrade", schema=None, autocommit=True) as session:
        name = slot_name(session, settings.schema)
        if Replication(session, settings.schema, name).look() is not None:
            raise StorageError(
                f"Debezium's replication slot {name} would stay, and the server would keep its log until the disk is "
                "full: run `eventkit db mode relay` first"
            )


def _follow(waits: "Iterator[str]", ending: "Ending") -> None:
    """Print the reasons to wait, a changed number seldom, until the switch is done or a signal comes."""
    said, at = "", 0.0
    for reason in waits:
        kind = re.sub(r"[\d,]+", "", reason)
        if kind != said or time.monotonic() - at > _REPEATED:
            remark(f"waiting: {reason}")
            said, at = kind, time.monotonic()
        if ending.wait(_SWITCH_INTERVAL):
            remark("ended before the switch was done; the same command goes on from here")
            return


def _print_move(settings: Settings, before: str | None, *, as_json: bool) -> None:
    from eventkit.storage import migrate

    after = migrate.current(settings.require_database(), settings.schema)
    if as_json:
        say(json.dumps({"schema": settings.schema, "before": before, "revision": after}))
    elif before == after:
        say(f"schema {settings.schema} is at {after or 'no revision'} already")
    else:
        say(f"schema {settings.schema} went from {before or 'nothing'} to {after or 'nothing'}")
