"""What the process of a long-running command does beside its work: hear signals at every stage, and come to an end.

The first SIGINT or SIGTERM asks for a clean end, whatever the process is doing then, and the exit code is 0; the second
ends it at once. Work that a dead server holds up is left behind: what it had not finished is done again by the next.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from eventkit.worker import Stop

logger = logging.getLogger("eventkit")

Work = Callable[[Stop], None]
_GOODBYE = 4.0  # seconds for a clean end, of the five that are promised
_LISTEN = 0.1  # seconds between two looks at the threads


def together(workers: Sequence[Work], stop: Stop) -> None:
    """Run each on a thread of its own, while this one hears signals; the first error stops all and is raised."""
    errors: list[BaseException] = []

    def guarded(work: Work) -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001 raised again below, on the main thread
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in workers]
    for thread in threads:
        thread.start()
    if _await(threads, stop):
        logger.warning("the work under way did not end in %g s and is left: it will be done again", _GOODBYE)
    if errors:
        raise errors[0]


def at_start(work: Callable[[], None], stop: Stop) -> bool:
    """Do what comes before the work, and raise its error; return False, at once, when asked to stop."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 raised again below, on the main thread
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    while thread.is_alive() and not stop.is_set():
        thread.join(_LISTEN)
    if errors and not stop.is_set():
        raise errors[0]
    return not stop.is_set()


def _await(threads: Sequence[threading.Thread], stop: Stop) -> bool:
    """Wait until all have ended; return whether some had not when their time was up."""
    asked: float | None = None
    while alive := [thread for thread in threads if thread.is_alive()]:
        alive[0].join(_LISTEN)
        if stop.is_set():
            asked = asked or time.monotonic()
            if time.monotonic() - asked > _GOODBYE:
                return True
    return False
