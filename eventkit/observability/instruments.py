"""Counters, gauges and histograms, and the sinks that take their values.

    room --add, set, observe--> instrument --> each sink (Prometheus, OpenTelemetry, a test)

Without a sink, each call ends after one look at an empty tuple. Rooms call an instrument once a batch, never once an
event. The values that an object counts anyway are not pushed: its owner adds a source, which sinks read when they are
asked themselves. `eventkit.observability.metrics` declares all instruments.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

Kind = Literal["counter", "gauge", "histogram"]

TIMES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""The buckets of durations: 1 ms to 1 h, in seconds."""
SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0)
"""The buckets of a batch's size, in events."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """A metric: its name by the rules of Prometheus, its unit, a sentence for an operator, and its labels.

    A label has few values: projections, leases, closed lists. Streams, events and error texts are no labels.
    """

    kind: ClassVar[Kind]
    name: str
    unit: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counter(Instrument):
    """A number that only grows while the process lives; its name ends in `_total`."""

    kind = "counter"

    def add(self, amount: float, *labels: str) -> None:
        """Add an amount; `labels` are the values of the labels in their order."""
        for sink in _sinks:
            sink.add(self, amount, labels)


@dataclass(frozen=True, slots=True)
class Gauge(Instrument):
    """A number that rises and falls."""

    kind = "gauge"

    def set(self, value: float, *labels: str) -> None:
        """Set the value; `labels` are the values of the labels in their order."""
        for sink in _sinks:
            sink.set(self, value, labels)


@dataclass(frozen=True, slots=True)
class Histogram(Instrument):
    """How often a value was in each of some ranges."""

    kind = "histogram"
    buckets: tuple[float, ...] = TIMES

    def observe(self, value: float, *labels: str, weight: int = 1) -> None:
        """Count a value, `weight` times where it stands for the values near it."""
        for sink in _sinks:
            sink.observe(self, value, labels, weight)


class Sink(Protocol):
    """Takes the values of instruments; called by any thread, and must neither block nor raise."""

    def add(self, counter: Counter, amount: float, labels: Sequence[str]) -> None:
        """Add to a counter."""

    def set(self, gauge: Gauge, value: float, labels: Sequence[str]) -> None:
        """Set a gauge."""

    def observe(self, histogram: Histogram, value: float, labels: Sequence[str], weight: int) -> None:
        """Count a value in a histogram."""


Reading = tuple[Counter | Gauge, float, tuple[str, ...]]
"""The value of an instrument now, with the values of its labels."""
Source = Callable[[], Iterable[Reading]]
"""Returns readings; called when a sink is asked for its values, by the thread that asks."""

_sinks: tuple[Sink, ...] = ()
_sources: tuple[Source, ...] = ()


def add_sink(sink: Sink) -> None:
    """Give all values from now on to `sink` too."""
    global _sinks  # noqa: PLW0603 the hot path reads one name of this module
    _sinks = (*_sinks, sink)


def remove_sink(sink: Sink) -> None:
    """Give no more values to `sink`."""
    global _sinks  # noqa: PLW0603 as above
    _sinks = tuple(other for other in _sinks if other is not sink)


def is_enabled() -> bool:
    """Return whether any sink takes values; without one, a caller may leave out preparing them."""
    return bool(_sinks)


@contextmanager
def reading_from(source: Source) -> Iterator[None]:
    """Add a source of readings inside this context."""
    global _sources  # noqa: PLW0603 as above
    _sources = (*_sources, source)
    try:
        yield
    finally:
        _sources = tuple(other for other in _sources if other is not source)


def readings() -> Iterator[Reading]:
    """Yield the readings of all sources."""
    for source in _sources:
        yield from source()
