"""The sink for OpenTelemetry: all instruments on the meter `eventkit`, where the process has configured an SDK.

Nothing is imported unless the process has imported `opentelemetry.metrics` itself. A histogram gets each sample once:
OpenTelemetry knows no weights.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from eventkit.observability.instruments import Counter, Histogram, Instrument, add_sink
from eventkit.observability.kept_values import KeptValues
from eventkit.observability.metrics import INSTRUMENTS

_API = "opentelemetry.metrics"
_UNITS = {"seconds": "s", "": "1"}


class OpenTelemetrySink(KeptValues):
    """A sink that a meter of OpenTelemetry reads."""

    def __init__(self) -> None:
        """Create all instruments on the global meter provider; the package `opentelemetry-api` must be there."""
        super().__init__()
        from opentelemetry import metrics  # noqa: PLC0415 an extra

        self._meter = metrics.get_meter("eventkit")
        self._observation: Callable[..., Any] = metrics.Observation
        self._histograms = {each: self._create(each) for each in INSTRUMENTS}

    def observe(self, histogram: Histogram, value: float, labels: Sequence[str], weight: int) -> None:  # noqa: ARG002 the API has none
        """Record a value once."""
        self._histograms[histogram].record(value, dict(zip(histogram.labels, labels, strict=True)))

    def _create(self, instrument: Instrument) -> Any:  # noqa: ANN401 the API's classes
        name = instrument.name.removesuffix("_total")  # an exporter to Prometheus adds it
        unit, text = _UNITS.get(instrument.unit, f"{{{instrument.unit}}}"), instrument.help
        if isinstance(instrument, Histogram):
            return self._meter.create_histogram(
                name, unit, text, explicit_bucket_boundaries_advisory=instrument.buckets
            )
        is_counter = isinstance(instrument, Counter)
        create = self._meter.create_observable_counter if is_counter else self._meter.create_observable_gauge
        return create(name, [partial(self._observed, instrument)], unit, text)

    def _observed(self, instrument: Instrument, _: object) -> Iterable[Any]:
        return [
            self._observation(value, dict(zip(known.labels, labels, strict=True)))
            for (known, labels), value in self.numbers().items()
            if known is instrument
        ]


def add_if_configured() -> bool:
    """Add the sink where the process has set a meter provider, as `opentelemetry-instrument` does; return whether."""
    api = sys.modules.get(_API)
    if api is None or type(api.get_meter_provider()).__module__.startswith(_API):  # the API's own do nothing
        return False
    add_sink(OpenTelemetrySink())
    return True
