"""The sink for Prometheus: its text is read by Prometheus' own parser."""

import shutil
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from eventkit.errors import ConfigurationError
from eventkit.health import PrometheusSink
from eventkit.health.prometheus import registry_of, rendered
from eventkit.observability import metrics
from eventkit.observability.instruments import Counter, Gauge, Histogram, reading_from

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(sink: PrometheusSink) -> Samples:
    """Return the samples of a sink's page by name and labels."""
    body, _ = rendered(registry_of(sink))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_counters_add_up_and_gauges_are_replaced() -> None:
    """Values of the same labels come together, others stay apart."""
    sink = PrometheusSink()
    sink.add(metrics.PUBLISHED, 2, ())
    sink.add(metrics.PUBLISHED, 3, ())
    sink.set(metrics.LEASE_EPOCH, 1, ("timers",))
    sink.set(metrics.LEASE_EPOCH, 7, ("timers",))
    sink.set(metrics.LEASE_EPOCH, 2, ("relay 0/1",))

    found = samples(sink)

    assert found["eventkit_relay_published_events_total", ()] == 5
    assert found["eventkit_lease_epoch", (("lease", "timers"),)] == 7
    assert found["eventkit_lease_epoch", (("lease", "relay 0/1"),)] == 2


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(0.0, "0.001"), (0.001, "0.001"), (0.0011, "0.0025"), (59.0, "60.0"), (3600.0, "3600.0"), (9e9, "+Inf")],
)
def test_a_value_is_in_the_first_bucket_that_is_not_below_it(value: float, bucket: str) -> None:
    """Buckets include their upper bound, and count all values up to it."""
    sink = PrometheusSink()
    sink.observe(metrics.ACKNOWLEDGED_AFTER, value, (), 3)

    found = {
        labels[0][1]: count
        for (name, labels), count in samples(sink).items()
        if name == "eventkit_relay_commit_to_acknowledged_seconds_bucket"
    }

    assert next(bound for bound, count in found.items() if count) == bucket
    assert set(found.values()) <= {0, 3}
    assert found["+Inf"] == 3


def test_a_sample_counts_for_its_neighbours() -> None:
    """Weights are in the count and in the sum."""
    sink = PrometheusSink()
    sink.observe(metrics.ACKNOWLEDGED_AFTER, 0.5, (), 10)
    sink.observe(metrics.ACKNOWLEDGED_AFTER, 0.1, (), 1)

    found = samples(sink)

    assert found["eventkit_relay_commit_to_acknowledged_seconds_count", ()] == 11
    assert found["eventkit_relay_commit_to_acknowledged_seconds_sum", ()] == pytest.approx(5.1)


def test_readings_of_sources_are_shown() -> None:
    """A counter that an object keeps is read when the page is asked for."""
    sink = PrometheusSink(lambda: [(metrics.UNSENT, 4, ())])
    with reading_from(lambda: [(metrics.APPLIED, 9, ("totals",))]):
        found = samples(sink)

    assert found["eventkit_projection_applied_events_total", (("projection", "totals"),)] == 9
    assert found["eventkit_outbox_unsent_events", ()] == 4


def test_of_two_values_of_a_gauge_the_higher_one_is_shown() -> None:
    """A projector knows its lag, and its database too; while one of them is wrong, it is too low."""
    sink = PrometheusSink(lambda: [(metrics.LAG_SECONDS, 5.0, ("a",)), (metrics.LAG_SECONDS, 1.0, ("b",))])
    with reading_from(lambda: [(metrics.LAG_SECONDS, 0.0, ("a",)), (metrics.LAG_SECONDS, 9.0, ("b",))]):
        found = samples(sink)

    name = "eventkit_projection_lag_seconds"
    assert [found[name, (("projection", each),)] for each in ("a", "b")] == [5.0, 9.0]


def test_labels_with_any_text_are_escaped() -> None:
    """A lease's name with quotes and line breaks forges no line."""
    sink = PrometheusSink()
    name = 'a"\n\\eventkit_lease_held 1'
    sink.set(metrics.LEASE_HELD, 1, (name,))

    assert samples(sink)["eventkit_lease_held", (("lease", name),)] == 1


def test_a_sink_is_registered_in_a_registry_of_the_service() -> None:
    """A service that has its own page adds ours to it."""
    registry, sink = CollectorRegistry(), PrometheusSink()
    registry.register(sink)
    sink.add(metrics.APPENDED, 2, ())

    assert registry.get_sample_value("eventkit_appended_events_total") == 2


def test_prometheus_own_linter_finds_no_fault() -> None:
    """`promtool check metrics` takes the page with every instrument on it."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on this machine: install it (Debian: `apt-get install prometheus`)")
    sink = PrometheusSink()
    for instrument in metrics.INSTRUMENTS:
        labels = ["value"] * len(instrument.labels)
        if isinstance(instrument, Counter):
            sink.add(instrument, 1, labels)
        elif isinstance(instrument, Gauge):
            sink.set(instrument, 1, labels)
        elif isinstance(instrument, Histogram):
            sink.observe(instrument, 1, labels, 1)
    body, _ = rendered(registry_of(sink))

    linted = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False, timeout=60)

    assert (linted.returncode, linted.stderr) == (0, b"")


def test_a_missing_client_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to install it."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'eventkit-outbox\[metrics\]'"):
        PrometheusSink()
