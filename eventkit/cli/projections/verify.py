"""`eventkit projection verify`: compare the events that a read model has applied with those of the store."""

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click
import msgspec

from eventkit.cli.common.exit_codes import ExitCode
from eventkit.cli.common.output import say
from eventkit.cli.projections.options import EXAMPLES, JSON, STORE_URL
from eventkit.config import Settings

if TYPE_CHECKING:
    from eventkit.projection.verify import CheckpointVerification, Verified
    from eventkit.storage.projections import Registered


@click.command(name="verify", epilog=EXAMPLES, short_help="Compare applied events with the store.")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@STORE_URL
@JSON
@click.pass_obj
def command(settings: Settings, names: tuple[str, ...], *, store_url: str | None, as_json: bool) -> None:
    """Compare the digest of every checkpoint with the store, for these projections or for all.

    Exit 1 if the store has other events than those that were applied: rebuild the projection. Exit 3 if nothing
    could be compared: name the store with --store-url.
    """
    from eventkit.projection.delete import unknown
    from eventkit.projection.verify import CheckpointVerification
    from eventkit.storage.db import connect, database_errors
    from eventkit.storage.projections import ProjectionRegistry

    with ExitStack() as stack, database_errors():
        own, store = [
            stack.enter_context(connect(url, name="projection verify", schema=settings.schema, autocommit=True))
            for url in (settings.require_database(), store_url or settings.require_database())
        ]
        known = {item.name: item for item in ProjectionRegistry(settings.schema).all(own)}
        for name in names:
            if name not in known:
                raise unknown(name, known)
        verifying = CheckpointVerification(own, settings.schema, store=store)
        found = [_verified(verifying, known[name]) for name in names or known]
    if as_json:
        say(json.dumps(list(map(msgspec.to_builtins, found))))
    else:
        say("\n".join(map(_sentences, found)) or "no projection is registered in this database")
    raise SystemExit(_exit_code(found))


def _verified(verifying: "CheckpointVerification", projection: "Registered") -> "Verified":
    from eventkit.cli.projections.progress import shown
    from eventkit.projection.rebuild import RebuildProgress

    total = verifying.events(projection)
    with shown(projection.name) as report:
        return verifying.verify(projection, lambda done: report(RebuildProgress("verify", done, total)))


def _sentences(found: "Verified") -> str:
    lines = [
        f"{found.projection}: {found.same:,} streams are as the store has them, {found.different:,} are others",
        f"  {found.not_compared:,} could not be compared: pruned, never seen whole, or not of this store",
    ]
    if not found.not_compared:
        lines.pop()
    lines += [f"  {item.stream}: {item.difference}" for item in found.differences]
    if found.different > len(found.differences):
        lines.append(f"  and {found.different - len(found.differences):,} more")
    return "\n".join(lines)


def _exit_code(found: "list[Verified]") -> int:
    if any(item.different for item in found):
        return ExitCode.REFUSED
    nothing_compared = any(item.not_compared and not item.same for item in found)
    return ExitCode.NOT_COMPARED if nothing_compared else ExitCode.DONE
