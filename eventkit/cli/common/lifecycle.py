"""Start and end of a long-running command's process; it reacts to signals at every stage.

The first SIGINT or SIGTERM asks for a clean end with exit code 0, the second ends the process at once. Work that a dead
server blocks is abandoned after a few seconds: its transaction rolls back, and the next process does it again.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from eventkit.worker import Stop

logger = logging.getLogger("eventkit")

Work = Callable[[Stop], None]
_END_TIMEOUT = 4.0  # seconds for a clean end; five are promised
_JOIN_INTERVAL = 0.1  # seconds


def together(workers: Sequence[Work], stop: Stop) -> None:
    """Run each worker on its own thread, while the main thread handles signals; the first error stops all."""
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
        logger.warning("the work under way did not end in %g s and is left: it will be done again", _END_TIMEOUT)
    if errors:
        raise errors[0]


def at_start(work: Callable[[], None], stop: Stop) -> bool:
    """Run a preparation on a thread and raise its error; return False at once when the process is asked to stop."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 raised again below, on the main thread
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    while thread.is_alive() and not stop.is_set():
        thread.join(_JOIN_INTERVAL)
    if errors and not stop.is_set():
        raise errors[0]
    return not stop.is_set()


def _await(threads: Sequence[threading.Thread], stop: Stop) -> bool:
    """Wait until all threads have ended; return True if some still run at the end of the timeout."""
    asked: float | None = None
    while alive := [thread for thread in threads if thread.is_alive()]:
        alive[0].join(_JOIN_INTERVAL)
        if stop.is_set():
            asked = asked or time.monotonic()
            if time.monotonic() - asked > _END_TIMEOUT:
                return True
    return False
