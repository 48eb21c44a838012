"""The sink for Prometheus: keeps the values of all instruments, and shows them to a registry of prometheus-client.

It keeps its own histograms, because one sample may stand for many events. The client is imported when a sink is made:
a process without metrics does not need it.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from eventkit.errors import ConfigurationError
from eventkit.observability.instruments import Counter, Histogram, Instrument, Reading
from eventkit.observability.kept_values import KeptValues, Labels
from eventkit.observability.metrics import INSTRUMENTS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

_MISSING = "metrics need prometheus-client, which is not installed: pip install 'eventkit-outbox[metrics]'"


class _Distribution:
    """The values of one histogram with one set of labels."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # by bucket, the last one without an upper bound
        self.sum = 0.0

    def observe(self, value: float, weight: int) -> None:
        self.counts[bisect_left(self.bounds, value)] += weight
        self.sum += value * weight

    def buckets(self) -> list[tuple[str, float]]:
        """Return the upper bounds with the number of values up to each, as Prometheus has them."""
        names = [*(str(bound) for bound in self.bounds), "+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))


class PrometheusSink(KeptValues):
    """A sink, and a collector of prometheus-client.

    A service that appends events shows its own metrics so:

        sink = PrometheusSink()
        eventkit.observability.instruments.add_sink(sink)
        prometheus_client.REGISTRY.register(sink)
    """

    def __init__(self, more: Callable[[], Iterable[Reading]] = tuple) -> None:
        """Show also the readings that `more` returns; ConfigurationError if prometheus-client is not installed."""
        check_client()
        super().__init__()
        self._more = more
        self._distributions: dict[tuple[Histogram, Labels], _Distribution] = {}

    def forked(self) -> None:
        """Begin at zero in a child: its parent shows the earlier values."""
        super().forked()
        self._distributions = {}

    def observe(self, histogram: Histogram, value: float, labels: Sequence[str], weight: int) -> None:
        """Count a value in a histogram."""
        key = histogram, tuple(labels)
        with self._lock:
            if key not in self._distributions:
                self._distributions[key] = _Distribution(histogram.buckets)
            self._distributions[key].observe(value, weight)

    def describe(self) -> list["Metric"]:
        """Return nothing, so that a registry asks for no values when the sink is registered."""
        return []

    def collect(self) -> Iterator["Metric"]:
        """Yield the metrics that have a value."""
        numbers = self.numbers()
        for each, value, labels in self._more():  # the lag is also known to the process: the higher value is right
            numbers[each, labels] = max(value, numbers.get((each, labels), value))
        with self._lock:
            found = {key: (each.buckets(), each.sum) for key, each in self._distributions.items()}
        for instrument in INSTRUMENTS:
            if isinstance(instrument, Histogram):
                samples = {labels: each for (known, labels), each in found.items() if known is instrument}
                if samples:
                    yield _histogram(instrument, samples)
            else:
                values = {labels: value for (known, labels), value in numbers.items() if known is instrument}
                if values:
                    yield _family(instrument, values)


def check_client() -> None:
    """Raise ConfigurationError with the command that installs the client if it is missing."""
    try:
        import prometheus_client  # noqa: F401, PLC0415 a process without metrics does not need it
    except ImportError as error:
        raise ConfigurationError(_MISSING) from error


def rendered(registry: "CollectorRegistry") -> tuple[bytes, str]:
    """Return a registry's metrics in the text format, and the content type."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest  # noqa: PLC0415 as above

    return generate_latest(registry), CONTENT_TYPE_LATEST


def registry_of(sink: PrometheusSink) -> "CollectorRegistry":
    """Return a registry with a sink's metrics, and those of this process: memory, processor time, open files."""
    from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415 as above

    registry = CollectorRegistry(auto_describe=False)
    registry.register(sink)
    ProcessCollector(registry=registry)
    return registry


def _family(instrument: Instrument, values: dict[Labels, float]) -> "Metric":
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 as above

    kind = CounterMetricFamily if isinstance(instrument, Counter) else GaugeMetricFamily
    family = kind(instrument.name, instrument.help, labels=instrument.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _histogram(instrument: Histogram, samples: dict[Labels, tuple[list[tuple[str, float]], float]]) -> "Metric":
    from prometheus_client.metrics_core import HistogramMetricFamily  # noqa: PLC0415 as above

    family = HistogramMetricFamily(instrument.name, instrument.help, labels=instrument.labels)
    for labels, (buckets, total) in sorted(samples.items()):
        family.add_metric(labels, buckets, total)
    return family
