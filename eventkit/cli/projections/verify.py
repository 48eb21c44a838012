"""`eventkit projection verify`: compare the events that a read model has applied with those of the store."""

import json
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

import click
import msgspec

from eventkit.cli.common.durations import read_age
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
@click.option(
    "--wait", callback=read_age, default="10s", show_default=True, metavar="AGE",
    help="Wait as long for streams whose events are on their way.",
)  # fmt: skip
@JSON
@click.pass_obj
def command(
    settings: Settings, names: tuple[str, ...], *, store_url: str | None, wait: timedelta, as_json: bool
) -> None:
    """Compare every checkpoint with the store, and find streams without one, for these projections or for all.

    Exit 1 if the store has other events than those that were applied, or streams that were not applied at all:
    rebuild the projection. Exit 3 if nothing could be compared: name the store with --store-url.
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
        verifying = CheckpointVerification(own, settings.schema, store=store, wait=wait.total_seconds())
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
    lines = [f"{found.projection}: {found.same:,} streams are as the store has them, {found.different:,} are others"]
    if found.not_compared:
        lines.append(f"  {found.not_compared:,} could not be compared: pruned, never seen whole, or not of this store")
    lines += _listed([f"{item.stream}: {item.difference}" for item in found.differences], found.different)
    if found.missing:
        lines.append(
            f"  {found.missing:,} streams of the store have no checkpoint, so none of their events is applied: if its "
            "projector runs and has caught up with its topics, it was never sent them; rebuild the projection"
        )
    lines += _listed(found.missing_streams, found.missing)
    return "\n".join(lines)


def _listed(first: list[str], count: int) -> list[str]:
    more = [f"  and {count - len(first):,} more"] if count > len(first) else []
    return [*(f"  {line}" for line in first), *more]


def _exit_code(found: "list[Verified]") -> int:
    if any(item.different or item.missing for item in found):
        return ExitCode.REFUSED
    nothing_compared = any(item.not_compared and not item.same for item in found)
    return ExitCode.NOT_COMPARED if nothing_compared else ExitCode.DONE
