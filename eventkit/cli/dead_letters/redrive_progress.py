"""A confirmed redrive: apply the events in this process, or wait for the running projectors.

The request is written by `eventkit.storage.dead_letters.actions`; `StreamParking` applies the letters.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from eventkit.cli.common.output import number, remark
from eventkit.config import Settings
from eventkit.storage.dead_letters import Choice, LetterFilter, LetterQuery

if TYPE_CHECKING:
    from eventkit.projection.define import Projection
    from eventkit.storage.dead_letters import LetterActions


def report_left_out(chosen: Choice, choice: Choice) -> None:
    left_out = len(set(chosen.ids) - set(choice.ids))
    if left_out:
        remark(
            f"{number(left_out, 'letter')} cannot be redriven, malformed or of a generation that is not live: "
            "discard them, or wait for the rebuild"
        )


def redrive_here(
    settings: Settings, acting: "LetterActions", pages: Iterable[Choice], projections: "Sequence[Projection]"
) -> None:
    """Request the redrives; reserve the streams of the given projections for this process, and apply them here."""
    from eventkit.projection.run import ProjectionRunner, SourceOptions
    from eventkit.worker import Stop

    process = f"{socket.gethostname()}:{os.getpid()}:{uuid4()}"
    try:
        for page in pages:
            acting.redrive(page, named=[projection.name for projection in projections], process=process)
        for projection in projections:
            ProjectionRunner(projection, settings, SourceOptions()).redrive(Stop(), process)
    finally:
        if left := acting.release(process):
            remark(f"{number(left, 'stream')} not tried: the request is withdrawn")


def await_projectors(there: LetterQuery, choice: Choice, seconds: float) -> dict[str, int]:
    """Wait up to `seconds` until projectors have tried the chosen letters; return the counts of the results."""
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


def redriven(result: dict[str, int]) -> Iterator[str]:
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
