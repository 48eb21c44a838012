"""Observes a few events of a batch for all of them, so that a histogram costs nothing per event."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from eventkit.observability.instruments import Histogram

T = TypeVar("T")
SAMPLES = 16  # of a batch


def samples(items: Sequence[T]) -> Iterator[tuple[T, int]]:
    """Yield at most `SAMPLES` evenly spaced items, each with the number of items that it stands for."""
    stride = -(-len(items) // SAMPLES)
    for first in range(0, len(items), stride or 1):
        yield items[first], min(stride, len(items) - first)


Recorded = list[tuple[float, int]]
"""Recorded times of sampled events, in seconds of Unix time, each with the number of events that it stands for."""


def recorded_times(events: Sequence[T], recorded_at: Callable[[T], datetime]) -> Recorded:
    """Return the times of a batch's samples, without its events: they must not live longer than their batch.

    A batch that is kept until the next one has come doubles the live objects, and the garbage collector then looks
    through all of them again and again. An event whose time cannot be read is left out.
    """
    times: Recorded = []
    for event, weight in samples(events):
        with suppress(ValueError):
            times.append((recorded_at(event).timestamp(), weight))
    return times


def observe_ages(histogram: Histogram, times: Recorded, *labels: str) -> None:
    """Observe the ages of events now. Clocks differ: an event of the future has the age 0."""
    now = time.time()
    for recorded, weight in times:
        histogram.observe(max(0.0, now - recorded), *labels, weight=weight)
