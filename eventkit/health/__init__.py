"""The endpoint of a worker process: liveness, readiness and metrics over HTTP (`--serve`)."""

from eventkit.health.address import parse_address, shown
from eventkit.health.prometheus import PrometheusSink
from eventkit.health.serving import Serving

__all__ = ["PrometheusSink", "Serving", "parse_address", "shown"]
