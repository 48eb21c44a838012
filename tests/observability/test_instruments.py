"""Instruments: their names keep the rules of Prometheus, and without a sink they do nothing."""

import re
from collections.abc import Iterator, Sequence

import pytest

from eventkit.observability import instruments, metrics
from eventkit.observability.instruments import Counter, Gauge, Histogram, Instrument

UNBOUNDED = {"stream", "event", "event_id", "id", "error", "reason", "host", "process", "type", "correlation_id"}
BASE_UNITS = {"seconds", "bytes"}
OTHER_UNITS = ("milliseconds", "minutes", "hours", "ms", "kilobytes", "megabytes")


@pytest.mark.parametrize("instrument", metrics.INSTRUMENTS, ids=lambda each: each.name)
def test_a_name_keeps_the_rules_of_prometheus(instrument: Instrument) -> None:
    """The prefix is eventkit_, a counter ends in _total and nothing else does, units are base units in the name."""
    assert re.fullmatch(r"eventkit(_[a-z]+)+", instrument.name)
    assert instrument.name.endswith("_total") == isinstance(instrument, Counter)
    assert not any(instrument.name.endswith(f"_{unit}") for unit in OTHER_UNITS)
    if instrument.unit in BASE_UNITS:
        assert instrument.name.removesuffix("_total").endswith(f"_{instrument.unit}")


@pytest.mark.parametrize("instrument", metrics.INSTRUMENTS, ids=lambda each: each.name)
def test_no_label_has_unbounded_values(instrument: Instrument) -> None:
    """A label names a projection, a lease or a word of a closed list, never a stream, an event or a text."""
    assert not set(instrument.labels) & UNBOUNDED


def test_names_are_unique() -> None:
    """No two instruments share a name."""
    names = [instrument.name for instrument in metrics.INSTRUMENTS]

    assert len(names) == len(set(names))


def test_times_reach_from_a_millisecond_to_an_hour() -> None:
    """A latency histogram resolves one millisecond and one hour."""
    for histogram in (metrics.ACKNOWLEDGED_AFTER, metrics.APPLIED_AFTER):
        assert (histogram.buckets[0], histogram.buckets[-1]) == (0.001, 3600.0)
        assert list(histogram.buckets) == sorted(histogram.buckets)


class Noted:
    """A sink that keeps each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def add(self, counter: Counter, amount: float, labels: Sequence[str]) -> None:
        self.calls.append((counter.name, amount, *labels))

    def set(self, gauge: Gauge, value: float, labels: Sequence[str]) -> None:
        self.calls.append((gauge.name, value, *labels))

    def observe(self, histogram: Histogram, value: float, labels: Sequence[str], weight: int) -> None:
        self.calls.append((histogram.name, value, *labels, weight))


@pytest.fixture
def noted() -> Iterator[Noted]:
    """A sink that takes all values during a test."""
    sink = Noted()
    instruments.add_sink(sink)
    yield sink
    instruments.remove_sink(sink)


def test_values_reach_every_sink(noted: Noted) -> None:
    """A sink gets the instrument, the value and the labels of each call."""
    metrics.PUBLISHED.add(3)
    metrics.LEASE_EPOCH.set(7, "timers")
    metrics.APPLIED_AFTER.observe(0.25, "totals", weight=16)

    assert noted.calls == [
        ("eventkit_relay_published_events_total", 3),
        ("eventkit_lease_epoch", 7, "timers"),
        ("eventkit_projection_recorded_to_applied_seconds", 0.25, "totals", 16),
    ]


def test_a_removed_sink_gets_nothing(noted: Noted) -> None:
    """After its removal a sink is not called, and preparing values may be left out."""
    instruments.remove_sink(noted)
    metrics.PUBLISHED.add(3)

    assert noted.calls == []
    assert not instruments.is_enabled()


def test_a_source_is_read_while_its_owner_works() -> None:
    """Readings come from the sources that are open, at the time at which they are asked."""
    counted = 5
    with instruments.reading_from(lambda: [(metrics.APPLIED, counted, ("totals",))]):
        counted = 6
        assert list(instruments.readings()) == [(metrics.APPLIED, 6, ("totals",))]

    assert list(instruments.readings()) == []
