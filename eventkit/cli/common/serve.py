"""The option `--serve` of the commands that run for long."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import click

from eventkit.config import Settings
from eventkit.observability.opentelemetry_metrics import add_if_configured

if TYPE_CHECKING:
    from eventkit.worker import Stop

SERVE = click.option(
    "--serve",
    metavar="HOST:PORT",
    help="Serve /livez, /readyz, /startupz and /metrics over HTTP; a port alone is on 127.0.0.1.",
)


class HealthEndpoint:
    """The endpoint of a command; without an address it serves nothing."""

    def __init__(
        self, address: str | None, settings: Settings, stop: "Stop", *, role: str, broker: bool = True,
        lease: bool = True,
    ) -> None:  # fmt: skip
        """Serve until the command ends; `broker` and `lease` say what the worker needs to be ready.

        Where the process has configured OpenTelemetry's metrics, they get all values too.
        """
        self._serving = None
        add_if_configured()
        if address is not None:
            from eventkit.health import Serving

            self._serving = Serving(address, settings, role=role, broker=broker, lease=lease, stopping=stop.is_set)
            click.get_current_context().call_on_close(self._serving.close)

    def started(self, projections: Collection[str] = ()) -> None:
        """Say that the worker has begun its work; `projections` are the names of those that it runs."""
        if self._serving is not None:
            self._serving.started(projections)
