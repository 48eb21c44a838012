"""Faults of the processes of a campaign: killed with -9, stopped in their tracks, asked to end, and restarted.

Faults hit relays, projectors and the broker at the same time, each by a plan of its own: a short one that is
written down, or one by chance that lasts as long as the campaign does. A process that ends by itself, as a worker that
finds no broker at its start, is started again, as a supervisor would.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from tests.faults.threads import Threads
from tests.process import EventkitProcess

KILLED, HUNG, ENDED = "killed", "hung", "ended"
FATES = {KILLED: 6, HUNG: 2, ENDED: 2}  # how often, of ten


class Victim(Protocol):
    """A process: a relay's, a projector's, a broker's own."""

    def start(self) -> object:
        """Start it with its earlier data."""

    def kill(self) -> None:
        """Kill it with -9, and wait for its end."""

    def pause(self) -> None:
        """Stop it in its tracks."""

    def resume(self) -> None:
        """Let it continue."""

    def terminate(self) -> None:
        """Ask it to end, and wait for that."""


class Fault(NamedTuple):
    """A fault: after how many seconds, of which kind, on which process, and for how long."""

    after: float
    victim: str
    fate: str = KILLED
    down: float = 0.0


class Pace(NamedTuple):
    """Shortest and longest seconds: between two faults, down, and hung."""

    after: tuple[float, float]
    down: tuple[float, float]
    hung: tuple[float, float]


WORKERS = Pace(after=(1.5, 6), down=(0, 1.5), hung=(0.2, 10))  # a lease lasts eight seconds
BROKER = Pace(after=(5, 14), down=(0, 3), hung=(0.2, 6))


def by_chance(victims: Sequence[str], pace: Pace, seed: str) -> Iterator[Fault]:
    """Return faults without end, the same for the same seed."""
    chance = random.Random(seed)
    while True:
        fate = chance.choices(list(FATES), list(FATES.values()))[0]
        away = chance.uniform(*(pace.hung if fate == HUNG else pace.down))
        yield Fault(chance.uniform(*pace.after), chance.choice(victims), fate, away)


class Storm(Threads):
    """Strikes until the end of its block, or of its plans; `counts` has the number of its faults."""

    def __init__(self, victims: Mapping[str, Victim], plans: Sequence[Iterable[Fault]]) -> None:
        """Strike by each plan on a thread of its own."""
        super().__init__([partial(self._follow, plan) for plan in plans])
        self._victims = victims
        self._busy = {name: threading.Lock() for name in victims}
        self.counts: Counter[str] = Counter()

    def wait(self) -> None:
        """Wait until every fault of plans that end has fallen."""
        while self.alive:
            self.over.wait(0.2)
            self.tend()

    def tend(self) -> None:
        """Start again each process that has ended by itself."""
        for name, victim in self._victims.items():
            if not isinstance(victim, EventkitProcess) or not self._busy[name].acquire(blocking=False):
                continue
            try:
                if not victim.running:
                    victim.start()
                    self.counts[f"{_kind(name)} started again"] += 1
            finally:
                self._busy[name].release()

    def _follow(self, plan: Iterable[Fault]) -> None:
        for fault in plan:
            if self.over.wait(fault.after):
                break
            with self._busy[fault.victim]:
                self._strike(self._victims[fault.victim], fault)
            self.counts[f"{_kind(fault.victim)} {fault.fate}"] += 1

    def _strike(self, victim: Victim, fault: Fault) -> None:
        {KILLED: victim.kill, HUNG: victim.pause, ENDED: victim.terminate}[fault.fate]()
        time.sleep(fault.down)
        if fault.fate == HUNG:
            victim.resume()
        else:
            victim.start()


def _kind(name: str) -> str:
    return name.rstrip("0123456789")
