"""What was sent and not reported yet, in the order of sending, and for how long the oldest has been waiting.

The client never times a message out, so somebody has to notice a broker that takes everything and answers nothing.
"""

import time
from collections import deque
from collections.abc import Iterable

_LOOK = 1.0  # seconds between two looks at the oldest: finding it costs time


class Unreported:
    """Tags under way. `arrived` is what callbacks append to: confirmed, and not counted yet."""

    def __init__(self, patience: float) -> None:
        self.arrived: list[int] = []
        self.confirmed: list[int] = []  # and not handed over yet
        self._patience = patience
        self._tags: dict[int, None] = {}
        self._oldest: int | None = None
        self._since = self._looked = time.monotonic()

    def __len__(self) -> int:
        return len(self._tags)

    def add(self, tags: Iterable[int]) -> None:
        """Note what is sent."""
        self._tags.update(dict.fromkeys(tags))

    def count(self) -> None:
        """Cross off what has arrived."""
        deque(map(self._tags.pop, self.arrived), maxlen=0)
        self.confirmed += self.arrived
        self.arrived.clear()

    def take(self) -> list[int]:
        """Return what is confirmed since the last call."""
        self.count()
        confirmed, self.confirmed = self.confirmed, []
        return confirmed

    def is_stuck(self) -> bool:
        """Return whether the oldest has been waiting for longer than the patience."""
        now = time.monotonic()
        if now - self._looked < min(_LOOK, self._patience / 4):
            return False
        self._looked = now
        self.count()
        oldest = next(iter(self._tags), None)
        if oldest is None or oldest != self._oldest:
            self._oldest, self._since = oldest, now
        return now - self._since > self._patience
