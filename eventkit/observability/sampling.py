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


def observe_ages(histogram: Histogram, events: Sequence[T], recorded_at: Callable[[T], datetime], *labels: str) -> None:
    """Observe the ages of events now, by samples; an event whose time cannot be read is left out.

    Clocks differ: an event of the future has the age 0.
    """
    now = time.time()
    for event, weight in samples(events):
        with suppress(ValueError):
            histogram.observe(max(0.0, now - recorded_at(event).timestamp()), *labels, weight=weight)
