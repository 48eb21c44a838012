"""Kill -9 for the relay and the projector, at a moment that hurts.

A kill counts only if the outbox was not empty, before the kill and when the process was dead, and if the process that
came after continued: the relay by publishing the rest of the outbox, the projector by applying more than had been
applied. One that does not count is repeated.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from examples.flights.latency import Timed
from examples.flights.processes import DemoFailed, Processes
from examples.flights.state import State

ATTEMPTS = 10
TIMEOUT = 30.0  # seconds

Wait = Callable[[Callable[[], bool], float], bool]  # wait for a condition, so many seconds; whether it came


@dataclass(frozen=True)
class Kill:
    """One that counted, on time.monotonic_ns()."""

    victim: str
    at: int
    caught_up: int  # when all that had been recorded up to the first work of the process that came after was applied

    def disturbed(self, sample: Timed) -> bool:
        """Return whether a sample was under way in between."""
        return sample.committed < self.caught_up and sample.visible > self.at


class Killer:
    """Kills processes and checks that the others continue."""

    def __init__(self, processes: Processes, state: State, wait: Wait) -> None:
        """Kill among these."""
        self._processes = processes
        self._state = state
        self._wait = wait

    def kill(self, victim: str) -> Kill:
        """Kill until it counts."""
        for _ in range(ATTEMPTS):
            last = self._pending()
            self._processes.kill(victim)
            at = time.monotonic_ns()
            left, applied = self._left(victim, last), self._state.applied()
            self._processes.restart(victim)
            if left:
                self._check_progress(victim, last, applied)
                return Kill(victim, at, self._caught_up())
        raise DemoFailed(
            f"the {victim} was killed {ATTEMPTS} times, each time with an empty outbox: give a higher --rate"
        )

    def _pending(self) -> int:
        deadline = time.monotonic() + TIMEOUT
        while (
            last := self._state.last_pending()
        ) is None:  # without a pause: the outbox is not empty for milliseconds only
            if time.monotonic() > deadline:
                raise DemoFailed(f"the outbox was empty for {TIMEOUT:.0f} s: the writers have stopped")
        return last

    def _left(self, victim: str, last: int) -> bool:
        """Return whether something waited; when the relay is dead, nothing leaves the outbox."""
        return self._state.pending_up_to(last) if victim == "relay" else self._state.last_pending() is not None

    def _check_progress(self, victim: str, last: int, applied: int) -> None:
        published = self._wait(lambda: not self._state.pending_up_to(last), TIMEOUT)
        if victim == "relay" and not published:
            raise DemoFailed(
                f"a new relay has not published within {TIMEOUT:.0f} s the events that the killed one left"
            )
        if victim == "projector" and not self._wait(lambda: self._state.applied() > applied, TIMEOUT):
            raise DemoFailed(f"a new projector has applied nothing within {TIMEOUT:.0f} s of the kill")

    def _caught_up(self) -> int:
        recorded = self._state.recorded()
        self._wait(lambda: self._state.applied() >= recorded, TIMEOUT)
        return time.monotonic_ns()
