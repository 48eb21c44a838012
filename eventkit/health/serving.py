"""Put the endpoint of a worker together: server, checks, metrics."""

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from importlib.metadata import version

from eventkit.config import Settings
from eventkit.errors import ConfigurationError
from eventkit.health.address import parse_address
from eventkit.health.database_gauges import DatabaseGauges
from eventkit.health.endpoints import Endpoints
from eventkit.health.kept_answer import KeptAnswer, Unanswered
from eventkit.health.prometheus import PrometheusSink, check_client, registry_of, rendered
from eventkit.health.readiness import readiness
from eventkit.health.server import HealthServer
from eventkit.observability import metrics
from eventkit.observability.instruments import Counter, Reading, add_sink, reading_from, remove_sink
from eventkit.storage.outbox import lease_states

logger = logging.getLogger("eventkit.health")

_GAUGES = {"fresh": 5.0, "stale": 10.0, "patience": 3.0}  # seconds

ROLES: dict[str, Sequence[Counter]] = {
    "relay": (metrics.PUBLISHED, metrics.SETTLED, metrics.SWEPT),
    "projector": (),
    "timers": (metrics.FIRED,),
}
"""Each role with the counters that it shows from the start, so that a rate is known at their first change."""


class Serving:
    """The endpoint of this process, from its creation until `close`."""

    def __init__(
        self,
        address: str,
        settings: Settings,
        *,
        role: str,
        broker: bool,
        lease: bool,
        stopping: Callable[[], bool],
    ) -> None:
        """Serve at `address`; `broker` and `lease` say what the worker needs, `stopping` whether it ends.

        ConfigurationError if this process cannot listen there.
        """
        host, port = parse_address(address)
        self._database = DatabaseGauges(settings, role=role)
        self._gauges = KeptAnswer(self._database.read, **_GAUGES)
        self._sink = _sink(role, self._readings)
        self._endpoints = Endpoints(readiness(settings, broker=broker, lease=lease), self._render, stopping=stopping)
        self._server = HealthServer(host, port, self._endpoints.answer)
        self._registry = registry_of(self._sink) if self._sink else None
        self._sources = ExitStack()
        if self._sink is not None:
            add_sink(self._sink)
            self._sources.enter_context(reading_from(_lease_readings))
            metrics.PROCESS_INFO.set(1, role, version("eventkit-outbox"))
            for counter in ROLES[role]:
                counter.add(0)
        logger.info("serving /livez, /readyz, /startupz and /metrics on http://%s", self._server.address)

    @property
    def address(self) -> str:
        """The address that it listens on."""
        return self._server.address

    def started(self, projections: Collection[str] = ()) -> None:
        """Say that the worker has begun its work; `projections` are the names of those that it runs."""
        self._database.show(projections)
        self._endpoints.started()

    def close(self) -> None:
        """Stop serving."""
        self._server.close()
        self._sources.close()
        if self._sink is not None:
            remove_sink(self._sink)

    def _readings(self) -> list[Reading]:
        """Return the database's gauges, if it answers."""
        try:
            return [*self._gauges.get(), (metrics.INSIGHTS_UP, 1, ())]
        except Unanswered as error:
            logger.debug("the gauges of the database are left out: %s", error)
            return [(metrics.INSIGHTS_UP, 0, ())]

    def _render(self) -> tuple[bytes, str]:
        if self._registry is None:
            check_client()
            raise ConfigurationError("prometheus-client was installed after the start: start this process again")
        return rendered(self._registry)


def _lease_readings() -> list[Reading]:
    """Return whether each lease that was taken is still held, by this process's clock: its holder may be blocked."""
    return [(metrics.LEASE_HELD, state.is_held, (state.name,)) for state in lease_states() if state.epoch]


def _sink(role: str, readings: Callable[[], list[Reading]]) -> PrometheusSink | None:
    """Return a sink, or None with a warning: the probes work without metrics."""
    try:
        return PrometheusSink(readings)
    except ConfigurationError as error:
        logger.warning("%s serves no /metrics: %s", role, error)
        return None
