"""The progress of a campaign: logged now and then, awaited at its beginning and at its end."""

import time
from collections.abc import Callable
from typing import Any

import psycopg

from tests.faults import ledger
from tests.faults.storm import Storm
from tests.waiting import wait_until

START = 60.0  # seconds until the first event has arrived
DRAIN = 240.0  # seconds for the backlog at the end
CALM = 1.0  # seconds without a change after which nothing more is under way
EVERY = 5.0  # seconds between two lines

Tell = Callable[[str], None]
Progress = tuple[int, int, int, int]


class Watch:
    """Polls the progress, logs it now and then, and restarts fallen processes."""

    def __init__(self, connection: psycopg.Connection[Any], storm: Storm, tell: Tell) -> None:
        """Look through an autocommit connection."""
        self._connection = connection
        self._storm = storm
        self._report = tell
        self._started = self._reported = time.monotonic()

    def begin(self) -> None:
        """Wait until the first events have arrived: the groups have their offsets, and faults may begin."""
        wait_until(lambda: min(self.look()[:3]) > 0, timeout=START, what="the first events")

    def look(self) -> Progress:
        """Return how many events were written, seen, acted upon and are unsent."""
        time.sleep(0.1)
        self._storm.tend()
        found = ledger.progress(self._connection)
        if time.monotonic() - self._reported > EVERY:
            self._reported = time.monotonic()
            text = "{:7,} written {:7,} seen {:7,} acted upon {:5,} unsent".format(*found)
            self._report(f"{self._reported - self._started:4.0f} s {text} {self._storm.counts.total():4} faults")
        return found

    def drain(self) -> int:
        """Wait until all has arrived and nothing changes any more; return how many have not arrived in time."""
        deadline, before, since = time.monotonic() + DRAIN, (0, 0, 0, 0), time.monotonic()
        while time.monotonic() < deadline:
            found = self.look()
            if found != before:
                before, since = found, time.monotonic()
            if not _left(found) and time.monotonic() - since > CALM:
                return 0
        return _left(before)


def _left(found: Progress) -> int:
    written, seen, acted, unsent = found
    return max(0, written - seen, written - acted, unsent)
