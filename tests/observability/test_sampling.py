"""Samples of a batch: few events stand for all, and the batch itself is not kept."""

import gc
import weakref
from datetime import UTC, datetime

import pytest

from eventkit.observability.sampling import SAMPLES, recorded_times, samples


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 100, 4_000])
def test_the_weights_are_the_number_of_all_events(count: int) -> None:
    """At most sixteen samples stand for all events."""
    found = list(samples(range(count)))

    assert len(found) <= SAMPLES
    assert sum(weight for _, weight in found) == count


class Event:
    """An event with a time."""

    at = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_events_of_a_batch_may_go_before_their_ages_are_observed() -> None:
    """The times hold no event: a batch that lives until the next one slows down the garbage collector."""
    event = Event()
    seen = weakref.ref(event)
    times = recorded_times([event], lambda each: each.at)
    del event
    gc.collect()

    assert seen() is None
    assert times == [(Event.at.timestamp(), 1)]


def test_an_event_without_a_readable_time_is_left_out() -> None:
    """A foreign message with another time does not stop a batch."""

    def unreadable(_: int) -> datetime:
        raise ValueError

    assert recorded_times([1, 2], unreadable) == []
