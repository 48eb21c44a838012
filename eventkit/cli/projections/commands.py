"""`eventkit projection`: list, verify, rebuild, pause and delete the projections of the read models' database."""

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click
import msgspec

from eventkit.cli.common.output import confirm, remark, say
from eventkit.cli.common.pausing import pausing
from eventkit.cli.projections.options import EXACT, EXAMPLES, JSON, STORE_URL
from eventkit.cli.projections.rebuild import command as rebuild
from eventkit.cli.projections.verify import command as verify
from eventkit.config import Settings

_OPTIONS = {"lock_timeout": "5s"}

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventkit.insights import Status, Statuses


@click.group(name="projection", epilog=EXAMPLES)
def command() -> None:
    """List, verify, rebuild, pause and delete projections."""


command.add_command(rebuild)
command.add_command(verify)
command.add_command(pausing("pause", "projection", EXAMPLES))
command.add_command(pausing("resume", "projection", EXAMPLES))


@command.command(name="list", epilog=EXAMPLES, short_help="List the projections of the database.")
@STORE_URL
@EXACT
@JSON
@click.pass_obj
def list_(settings: Settings, *, store_url: str | None, exact: bool, as_json: bool) -> None:
    """List the projections with their live version, lag, parked streams, and running rebuild."""
    from eventkit.cli.projections.statuses import print_table

    with _statuses(settings, store_url) as statuses:
        found = [statuses.of(item, exact=exact) for item in statuses.registered()]
    if as_json:
        say(json.dumps(list(map(_plain, found))))
    elif found:
        print_table(found)
    else:
        say("no projection is registered in this database: a projector's first start does it")


@command.command(epilog=EXAMPLES, short_help="Show the status of projections.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@STORE_URL
@EXACT
@JSON
@click.pass_obj
def status(settings: Settings, names: tuple[str, ...], *, store_url: str | None, exact: bool, as_json: bool) -> None:
    """Show the full status of projections: tables, lag, parked streams, letters, rebuild, waiting handlers."""
    from eventkit.cli.projections.statuses import sentences
    from eventkit.projection.delete import unknown

    with _statuses(settings, store_url) as statuses:
        known = {item.name: item for item in statuses.registered()}
        for name in names:
            if name not in known:
                raise unknown(name, known)
        found = [statuses.of(known[name], exact=exact) for name in names]
    if as_json:
        say(json.dumps(list(map(_plain, found))))
    else:
        say("\n\n".join(map(sentences, found)))


@command.command(epilog=EXAMPLES, short_help="Delete a projection: row, checkpoints, dead letters.")
@click.argument("name")
@click.option("--tables", is_flag=True, help="Drop its tables, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@JSON
@click.pass_obj
def delete(settings: Settings, name: str, *, tables: bool, yes: bool, as_json: bool) -> None:
    """Delete a projection's row, checkpoints and dead letters, and its tables on request.

    A projector that still runs it applies nothing more and ends. A projector started later begins again at the first
    event: drop or empty the tables before, or rebuild.
    """
    from eventkit.projection.delete import delete as delete_projection
    from eventkit.storage.db import connect

    if not yes:
        too = ", and its tables" if tables else ""
        confirm(f"Delete projection {name!r} with its checkpoints and dead letters{too}?")
    with connect(
        settings.require_database(),
        name="projection",
        schema=settings.schema,
        autocommit=True,
        options=_OPTIONS,
    ) as connection:
        deleted = delete_projection(connection, settings.schema, name, tables=tables)
        groups = _remove_groups(settings, connection)
    if as_json:
        say(json.dumps({**msgspec.to_builtins(deleted), "groups_left": groups}))
        return
    say(f"projection {name} is deleted: generation {deleted.generation}, {deleted.letters} dead letters")
    if deleted.tables:
        kept = "keep their rows: drop or empty them before a projector starts anew"
        say(f"its tables {', '.join(deleted.tables)} {'are dropped' if deleted.dropped else kept}")
    if groups:
        say(f"groups {', '.join(groups)} are still at the broker: the next start of a projector removes them")


def _remove_groups(settings: Settings, connection: Any) -> list[str]:  # noqa: ANN401 a connection
    """Remove the consumer groups of deleted projections; return those that are still at the broker."""
    from eventkit.errors import EventkitError
    from eventkit.projection.run import broker_of, remove_abandoned
    from eventkit.storage.projections import ConsumerGroups
    from eventkit.transports import open_transport

    if settings.transport_url is not None:
        try:
            transport = open_transport(settings.transport_url, settings.transport_options)
            remove_abandoned(connection, settings.schema, transport, broker_of(settings.transport_url))
            transport.close()
        except EventkitError as error:
            remark(f"the broker cannot be asked now: {error}")
    return [group.name for group in ConsumerGroups(settings.schema).all(connection) if group.abandoned]


@contextmanager
def _statuses(settings: Settings, store_url: str | None) -> "Iterator[Statuses]":
    from eventkit.insights import Statuses
    from eventkit.storage.db import connect, database_errors

    with ExitStack() as stack:

        def connected(url: str) -> Any:  # noqa: ANN401 a connection
            return stack.enter_context(connect(url, name="projection", schema=settings.schema, autocommit=True))

        own = connected(settings.require_database())
        with database_errors():
            yield Statuses(own, settings.schema, store=connected(store_url) if store_url else None)


def _plain(status: "Status") -> Any:  # noqa: ANN401 JSON
    return msgspec.to_builtins(status)
