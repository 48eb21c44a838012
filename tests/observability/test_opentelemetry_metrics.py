"""The sink for OpenTelemetry, with its real SDK."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from eventkit.observability import metrics
from eventkit.observability.instruments import add_sink, reading_from, remove_sink
from eventkit.observability.opentelemetry_metrics import OpenTelemetrySink


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """The metrics of an SDK whose meter has eventkit's sink."""
    found = InMemoryMetricReader()
    provider = MeterProvider([found])
    monkeypatch.setattr(api, "get_meter", provider.get_meter)
    sink = OpenTelemetrySink()
    add_sink(sink)
    yield found
    remove_sink(sink)
    provider.shutdown()


def collected(reader: InMemoryMetricReader) -> dict[str, Any]:
    """Return the metrics by name."""
    data = reader.get_metrics_data()
    scopes = [scope for resource in (data.resource_metrics if data else []) for scope in resource.scope_metrics]
    return {metric.name: metric for scope in scopes for metric in scope.metrics}


def test_all_kinds_of_instruments_are_collected(reader: InMemoryMetricReader) -> None:
    """Counters add up, gauges have the last value, histograms have our buckets, sources are read."""
    metrics.PUBLISHED.add(2)
    metrics.PUBLISHED.add(3)
    metrics.LEASE_EPOCH.set(7, "timers")
    metrics.APPLIED_AFTER.observe(0.3, "totals", weight=5)

    with reading_from(lambda: [(metrics.APPLIED, 9, ("totals",))]):
        found = collected(reader)

    assert found["eventkit_relay_published_events"].data.data_points[0].value == 5
    assert found["eventkit_lease_epoch"].data.data_points[0].attributes == {"lease": "timers"}
    assert found["eventkit_projection_applied_events"].data.data_points[0].value == 9
    ages = found["eventkit_projection_recorded_to_applied_seconds"]
    assert (ages.unit, tuple(ages.data.data_points[0].explicit_bounds)) == ("s", metrics.APPLIED_AFTER.buckets)


PROGRAM = """
import sys
from eventkit.observability import instruments, opentelemetry_metrics
if {sdk}:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    metrics.set_meter_provider(MeterProvider())
print(opentelemetry_metrics.add_if_configured(), instruments.is_enabled(), "opentelemetry" in sys.modules)
"""


@pytest.mark.parametrize("sdk", [True, False])
def test_the_sink_is_added_where_an_sdk_is_configured(sdk: bool) -> None:  # noqa: FBT001 the case
    """Without an SDK nothing is imported, and instruments do nothing."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(sdk=sdk)], check=True, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.split() == [str(sdk)] * 3
