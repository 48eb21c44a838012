"""`eventkit dead-letters redrive`: requests that parked streams are tried again, and waits for the results.

The running projectors serve the requests (`eventkit.projection.apply.redrive`). With `--code` this process serves them
itself: the streams are reserved for it, so that no projector with the old code takes them up.
"""

import itertools
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from eventkit.cli.common.durations import Seconds
from eventkit.cli.common.operator import acting_user
from eventkit.cli.common.output import number, remark, say
from eventkit.cli.dead_letters.letters import check_named, connect_to_letters
from eventkit.cli.dead_letters.options import ALL, AS, DRY, EXAMPLES, JSON, YES, confirmed, selects, wanted
from eventkit.config import Settings

if TYPE_CHECKING:
    from eventkit.projection.define import Projection
    from eventkit.storage.dead_letters import Choice, LetterQuery, RedriveRequests


@click.command(epilog=EXAMPLES, short_help="Try parked streams again.")
@selects
@ALL
@click.option("--code", "paths", multiple=True, metavar="PACKAGE.MODULE:PROJECTION", help="Apply here, by this code.")
@click.option("--wait", type=Seconds(0), default=10, show_default=True, help="Seconds to wait for projectors.")
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
    """Try parked streams again, each from its first letter on, in order.

    A running projector does it within a second, with the code that it has loaded. If none runs, the request waits for
    one. With --code this command applies the events itself, with that code. The relay reads its streams again from
    their first unsent event. Exit code 1 if letters are left, or if no projector has taken the request in time.
    """
    from eventkit.projection.run import load_projections
    from eventkit.storage.dead_letters import LetterQuery, RedriveRequests

    projections = load_projections(paths)  # wrong code fails before anything is requested
    connection = connect_to_letters(settings)
    there = LetterQuery(connection, settings.schema)
    requests = RedriveRequests(connection, settings.schema, actor=actor or acting_user())
    which = wanted(everything=everything, **chosen)
    there.check(which)
    check_named(there, which)
    pages = there.pages(which)
    first = next(pages)
    choice = there.whole_streams(first)
    _report_left_out(first, choice)
    if not confirmed("redrive", choice, dry_run=dry_run, yes=yes, as_json=as_json):
        return
    _redrive_here(settings, requests, itertools.chain([first], pages), projections)
    result = _await_projectors(there, choice, wait)  # only the streams of the first page are waited for
    say(json.dumps(result) if as_json else "\n".join(_redriven(result)))
    raise SystemExit(result["left"] > 0 or result["waiting_streams"] > 0)


def _report_left_out(chosen: "Choice", choice: "Choice") -> None:
    left_out = len(set(chosen.ids) - set(choice.ids))
    if left_out:
        remark(
            f"{number(left_out, 'letter')} cannot be redriven, malformed or of a generation that is not live: "
            "discard them, or wait for the rebuild"
        )


def _redrive_here(
    settings: Settings, requests: "RedriveRequests", pages: "Iterable[Choice]", projections: "Sequence[Projection]"
) -> None:
    """Request the redrives; reserve the streams of the given projections for this process, and apply them here."""
    from eventkit.projection.run import ProjectionRunner, SourceOptions
    from eventkit.worker import Stop

    process = f"{socket.gethostname()}:{os.getpid()}:{uuid4()}"
    try:
        for page in pages:
            requests.redrive(page, named=[projection.name for projection in projections], process=process)
        for projection in projections:
            ProjectionRunner(projection, settings, SourceOptions()).redrive(Stop(), process)
    finally:
        if left := requests.release(process):
            remark(f"{number(left, 'stream')} not tried: the request is withdrawn")


def _await_projectors(there: "LetterQuery", choice: "Choice", seconds: float) -> dict[str, int]:
    """Wait up to `seconds` until projectors have tried the chosen letters; return the counts of the results."""
    from eventkit.storage.dead_letters import LetterFilter

    theirs = choice.of_relay(yes=False)
    deadline = time.monotonic() + seconds
    while (waiting := there.asked(theirs)) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = len(there.choose(LetterFilter(ids=theirs.ids)).ids)
    return {
        "streams": len(choice.streams),
        "letters": len(choice.ids),
        "sent_again": len(choice.of_relay(yes=True).ids),
        "applied": len(theirs.ids) - left,
        "left": left,
        "waiting_streams": waiting,
    }


def _redriven(result: dict[str, int]) -> Iterator[str]:
    if result["sent_again"]:
        yield f"{number(result['sent_again'], 'letter')} of the relay: it sends their streams again, when it runs"
    if result["applied"]:
        yield f"{number(result['applied'], 'letter')} applied"
    if result["waiting_streams"]:
        yield (
            f"{number(result['waiting_streams'], 'stream')} wait for a projector to take them up: "
            "one that runs does within a second, or say --code package.module:projection"
        )
    elif result["left"]:
        yield f"{number(result['left'], 'letter')} still there: `eventkit dead-letters list` says why"
