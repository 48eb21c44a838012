"""The latest values of counters and gauges, for sinks that are asked for them now and then."""

import threading
from collections.abc import Sequence

from eventkit.forks import reset_in_fork
from eventkit.observability.instruments import Counter, Gauge, Instrument, readings

Labels = tuple[str, ...]
Numbers = dict[tuple[Instrument, Labels], float]


class KeptValues:
    """The base of such sinks; used by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: Numbers = {}
        reset_in_fork(self)

    def forked(self) -> None:
        """Begin at zero in a child: its parent shows the earlier values."""
        self._lock, self._numbers = threading.Lock(), {}

    def add(self, counter: Counter, amount: float, labels: Sequence[str]) -> None:
        """Add to a counter."""
        key = counter, tuple(labels)
        with self._lock:
            self._numbers[key] = self._numbers.get(key, 0.0) + amount

    def set(self, gauge: Gauge, value: float, labels: Sequence[str]) -> None:
        """Set a gauge."""
        with self._lock:
            self._numbers[gauge, tuple(labels)] = value

    def numbers(self) -> Numbers:
        """Return all values: those that were given to this sink, and those that sources show now."""
        with self._lock:
            kept = dict(self._numbers)
        return kept | {(instrument, labels): value for instrument, value, labels in readings()}
