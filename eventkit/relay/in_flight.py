"""Events that were read and are not settled yet, bounded by number and by bytes.

The three stages share it; besides the reader's, it is the relay's only memory. A position is removed only after its
DELETE has committed: a read that began before the commit still has to leave it out.
"""

import threading
from collections.abc import Iterable
from itertools import repeat

from eventkit.storage.outbox import Row

_OVERHEAD = 500  # bytes of key and headers beside an event's data


class InFlight:
    """Positions in flight and their sizes."""

    def __init__(self, *, max_events: int = 40_000, max_bytes: int = 32_000_000) -> None:
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._sizes)

    def positions(self) -> list[int]:
        """Return a copy of the positions in flight."""
        with self._changed:
            return list(self._sizes)

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows handed to the publisher."""
        sizes = {row[0]: len(row[-1]) + _OVERHEAD for row in rows}
        with self._changed:
            self._sizes |= sizes
            self._bytes += sum(sizes.values())

    def remove(self, positions: Iterable[int]) -> None:
        """Remove settled positions."""
        with self._changed:
            self._bytes -= sum(map(self._sizes.pop, positions, repeat(0)))
            self._changed.notify_all()

    def wait_for_room(self, timeout: float) -> bool:
        """Wait until another page may be read; return False after `timeout` seconds without room."""
        with self._changed:
            return self._changed.wait_for(
                lambda: len(self._sizes) < self._max_events and self._bytes < self._max_bytes, timeout
            )
