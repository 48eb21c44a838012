"""`eventkit relay`: the process that publishes the outbox to the broker.

It needs a database and a broker, and none of the service's code.
"""

import logging
import os
import socket
from typing import TYPE_CHECKING

import click

from eventkit.cli.common.pausing import pausing
from eventkit.cli.common.serve import SERVE, HealthEndpoint
from eventkit.config import Settings
from eventkit.errors import ConfigurationError, TopicUnusable

if TYPE_CHECKING:
    from eventkit.relay import Claims

logger = logging.getLogger("eventkit.relay")

_MAX_SHARES = 256  # the outbox has as many shards
_ADVICE = "a relay process has nobody to send to: run eventkit.relay.Relay inside the service, or use kafka://host:9092"

_EXAMPLES = """\b
Examples:
  eventkit relay run
  eventkit --transport-url kafka://broker1:9092,broker2:9092 relay run
  eventkit relay pause shop.order --reason "the consumers are broken"
  eventkit relay resume shop.order
  eventkit relay run --part 0/2 & eventkit relay run --part 1/2      two relays share the streams

A second relay of the same part stands by and takes over when the first dies.
The first SIGINT or SIGTERM finishes the batches in flight, the second ends at once.
"""


@click.group(name="relay", epilog=_EXAMPLES)
def command() -> None:
    """Publish the outbox to the broker."""


command.add_command(pausing("pause", "topic", _EXAMPLES))
command.add_command(pausing("resume", "topic", _EXAMPLES))


@command.command(epilog=_EXAMPLES, short_help="Publish events until asked to stop.")
@click.option(
    "--part", metavar="I/N", default="0/1", show_default=True, help="Take the I-th of N shares of the streams, from 0."
)
@click.option("--share-topic", is_flag=True, help="Also send to topics that another installation's relay sends to.")
@SERVE
@click.pass_obj
def run(settings: Settings, part: str, *, share_topic: bool, serve: str | None) -> None:
    """Publish events until asked to stop, in order per stream, each at least once."""
    from eventkit.cli.common.heartbeat import heartbeat
    from eventkit.cli.common.lifecycle import at_start, together
    from eventkit.cli.common.preflight import open_broker, preflight_transport, topics_of
    from eventkit.relay import Claims, Part, Relay
    from eventkit.storage.db import connect
    from eventkit.storage.outbox import READING
    from eventkit.worker import Stop, collect_garbage_rarely, supervise

    stop = Stop()
    stop.on_signals()
    health = HealthEndpoint(serve, settings, stop, role="relay")
    number, of = _part(part)
    url = settings.require_database()
    transport = open_broker(settings, _ADVICE)

    claims = Claims(transport, share_topics=share_topic)

    def preflight() -> None:
        preflight_transport(transport, topics_of(settings))
        _claim(settings, claims)

    if not at_start(preflight, stop):
        return
    relay = Relay(
        lambda name: connect(url, name=name, schema=settings.schema, autocommit=True, options=READING),
        transport,
        schema=settings.schema,
        owner=f"{socket.gethostname()}:{os.getpid()}",
        part=Part(number=number, of=of),
        claims=claims,
    )
    collect_garbage_rarely()
    health.started()
    with heartbeat(settings, relay.state, role="relay", name="relay"):
        together([lambda stop: supervise(relay.run, stop, name="relay")], stop)
    transport.close()
    logger.info("stopped: %d events published and settled by this process", relay.settled)


def _claim(settings: Settings, claims: "Claims") -> None:
    """Claim the known topics; raise TopicUnusable if another installation has claimed one."""
    from eventkit.storage.db import connect
    from eventkit.storage.events import known_topics, record_held
    from eventkit.storage.schema import refuse_moved

    with connect(settings.require_database(), name="check", schema=settings.schema, autocommit=True) as connection:
        owner = str(refuse_moved(connection, settings.schema).id)
        topics = known_topics(connection, settings.schema)
        refused = claims.refused(connection, settings.schema, topics, owner=owner)
        record_held(connection, settings.schema, refused)
    if refused:
        raise TopicUnusable(refused)


def _part(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit() and int(number) < int(of) <= _MAX_SHARES):
        raise ConfigurationError(
            f"--part {text} is no share: it looks like 0/2 and 1/2, with at most {_MAX_SHARES} shares"
        )
    return int(number), int(of)
