"""Real servers for the tests: child processes on free ports, data in a temporary folder, gone with their starter.

`python -m tests.servers` fetches their programs and lends them to a command. Nothing here is mocked: the tests prove
their promises against PostgreSQL and real brokers.
"""

from importlib import import_module
from typing import Any


class ServerMissing(Exception):
    """A server's programs are not on this machine; the message says how to get them."""


class ServerFailed(Exception):
    """A server that is here did not do as it was asked."""


_BROKERS = {"kafka": "KafkaServer", "rabbitmq": "RabbitServer", "redis": "RedisServer", "activemq": "ActiveServer"}
_OPTIONS = {"kafka": {"quick": False}, "activemq": {"quick": False}}  # steady under load, and slower to start


def start(broker: str) -> Any:  # noqa: ANN401 each has `url`, `version`, `stop` and the faults of its kind
    """Start a broker by the name of its transport, for a benchmark or a campaign; ServerMissing says how to get it."""
    server = getattr(import_module(f"tests.servers.{broker}"), _BROKERS[broker])
    return server(**_OPTIONS.get(broker, {})).start()
