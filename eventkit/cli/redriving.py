"""What `eventkit dead-letters redrive` does after it has asked: applies here, or waits for the projectors that run."""

import time
from collections.abc import Iterator, Sequence

from eventkit.cli.letter_options import number
from eventkit.cli.output import remark
from eventkit.config import Settings
from eventkit.storage.letter_list import Choice, LetterList, Wanted


def tell_left_out(chosen: Choice, choice: Choice) -> None:
    left_out = len(set(chosen.ids) - set(choice.ids))
    if left_out:
        remark(
            f"{number(left_out, 'letter')} cannot be redriven, malformed or of a generation that is not live: "
            "discard them, or wait for the rebuild"
        )


def redrive_here(settings: Settings, paths: Sequence[str]) -> None:
    from eventkit.projection import running
    from eventkit.projection.loading import load_projections
    from eventkit.worker import Stop

    for projection in load_projections(paths):
        running.Running(projection, settings, running.Wanted()).redrive(Stop())


def await_projectors(there: LetterList, choice: Choice, seconds: float) -> dict[str, int]:
    """Wait until projectors have tried what was asked for; return what became of it."""
    theirs = choice.of_relay(yes=False)
    deadline = time.monotonic() + seconds
    while (waiting := there.asked(theirs)) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = len(there.choose(Wanted(ids=theirs.ids)).ids)
    return {
        "streams": len(choice.streams),
        "letters": len(choice.ids),
        "sent_again": len(choice.of_relay(yes=True).ids),
        "applied": len(theirs.ids) - left,
        "left": left,
        "waiting_streams": waiting,
    }


def redriven(told: dict[str, int]) -> Iterator[str]:
    if told["sent_again"]:
        yield f"{number(told['sent_again'], 'letter')} of the relay: it sends their streams again, when it runs"
    if told["applied"]:
        yield f"{number(told['applied'], 'letter')} applied"
    if told["waiting_streams"]:
        yield (
            f"{number(told['waiting_streams'], 'stream')} wait for a projector to take them up: "
            "one that runs does within a second, or say --code package.module:projection"
        )
    elif told["left"]:
        yield f"{number(told['left'], 'letter')} still there: `eventkit dead-letters list` says why"
