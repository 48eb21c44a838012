"""`eventkit relay`: the process that publishes the outbox to the broker.

It needs a database and a broker, and none of the service's code.
"""

import json
import logging
import os
import socket
from typing import TYPE_CHECKING

import click

from eventkit.cli.common.operator import acting_user
from eventkit.cli.common.output import cell, say
from eventkit.cli.common.pausing import pausing
from eventkit.cli.common.serve import SERVE, HealthEndpoint
from eventkit.config import Settings
from eventkit.errors import TopicUnusable

if TYPE_CHECKING:
    from eventkit.relay import Claims

logger = logging.getLogger("eventkit.relay")

_ADVICE = "a relay process has nobody to send to: run eventkit.relay.Relay inside the service, or use kafka://host:9092"

_EXAMPLES = """\b
Examples:
  eventkit relay run
  eventkit --transport-url kafka://broker1:9092,broker2:9092 relay run
  eventkit relay pause shop.order --reason "the consumers are broken"
  eventkit relay resume shop.order
  eventkit relay run & eventkit relay run      the second stands by
  eventkit relay parts 4                       now up to four relays share the streams

A relay that stands by takes over when another dies or hangs.
The first SIGINT or SIGTERM finishes the batches in flight, the second ends at once.
"""


@click.group(name="relay", epilog=_EXAMPLES)
def command() -> None:
    """Publish the outbox to the broker."""


command.add_command(pausing("pause", "topic", _EXAMPLES))
command.add_command(pausing("resume", "topic", _EXAMPLES))


@command.command(epilog=_EXAMPLES, short_help="Publish events until asked to stop.")
@click.option("--share-topic", is_flag=True, help="Also send to topics that another installation's relay sends to.")
@SERVE
@click.pass_obj
def run(settings: Settings, *, share_topic: bool, serve: str | None) -> None:
    """Publish events until asked to stop, in order per stream, each at least once."""
    from eventkit.cli.common.heartbeat import heartbeat
    from eventkit.cli.common.lifecycle import at_start, together
    from eventkit.cli.common.preflight import open_broker, preflight_transport, topics_of
    from eventkit.cli.common.schema_naming import load_schema_ids, naming_schemas, schema_ids
    from eventkit.relay import Claims, Relay
    from eventkit.storage.db import connect
    from eventkit.storage.outbox import READING
    from eventkit.worker import Stop, collect_garbage_rarely, supervise

    stop = Stop()
    stop.on_signals()
    health = HealthEndpoint(serve, settings, stop, role="relay")
    url = settings.require_database()
    ids = schema_ids(settings)
    transport = naming_schemas(settings, open_broker(settings, _ADVICE), ids)
    claims = Claims(transport, share_topics=share_topic)

    def preflight() -> None:
        preflight_transport(transport, topics_of(settings))
        _claim(settings, claims)
        if ids is not None:
            load_schema_ids(settings, ids)

    if not at_start(preflight, stop):
        return
    relay = Relay(
        lambda name: connect(url, name=name, schema=settings.schema, autocommit=True, options=READING),
        transport,
        schema=settings.schema,
        owner=f"{socket.gethostname()}:{os.getpid()}",
        claims=claims,
        schema_ids=ids,
    )
    collect_garbage_rarely()
    health.started()
    with heartbeat(settings, relay.state, role="relay", name="relay"):
        together([lambda stop: supervise(relay.run, stop, name="relay")], stop)
    transport.close()
    logger.info("stopped: %d events published and settled by this process", relay.settled)


def _claim(settings: Settings, claims: "Claims") -> None:
    """Claim the known topics, and report those of other installations; raise TopicUnusable if all are refused."""
    from eventkit.storage.db import connect
    from eventkit.storage.events import known_topics, record_held
    from eventkit.storage.schema import refuse_moved

    with connect(settings.require_database(), name="check", schema=settings.schema, autocommit=True) as connection:
        owner = str(refuse_moved(connection, settings.schema).id)
        topics = known_topics(connection, settings.schema)
        refused = claims.refused(connection, settings.schema, topics, owner=owner)
        record_held(connection, settings.schema, refused)
    if refused and refused.keys() >= topics:
        raise TopicUnusable(refused)
    for topic, reason in sorted(refused.items()):
        logger.error("topic %s is held, its events stay in the outbox; the others are sent: %s", topic, reason)


_PARTS_EXAMPLES = """\b
Examples:
  eventkit relay parts             the number of parts, and who holds each
  eventkit relay parts 4           with all relays stopped: four relays can share the streams
  eventkit relay parts --json

Relays share the parts by themselves, so that each has about as many as the others. More relays than parts stand by.
With two numbers of parts, relays would send events twice, so the number changes only while no relay runs.
"""


@command.command(epilog=_PARTS_EXAMPLES, short_help="Show the parts of the relay, or change their number.")
@click.argument("number", type=int, required=False, metavar="[N]")
@click.option("--as", "actor", metavar="NAME", help="The actor for the record (default: your user's name).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")
@click.pass_obj
def parts(settings: Settings, number: int | None, *, actor: str | None, as_json: bool) -> None:
    """Show into how many parts the streams are divided among relays, and who holds each; with N, change the number."""
    from eventkit.storage.db import connect
    from eventkit.storage.outbox import change_part_count, lease_name, lease_rows, read_part_count

    url, options = settings.require_database(), {"lock_timeout": "10s"}
    with connect(url, name="parts", schema=settings.schema, autocommit=True, options=options) as session:
        if number is not None:
            change_part_count(session, settings.schema, number, actor=actor or acting_user())
        of = read_part_count(session, settings.schema)
        held = {row.name: row for row in lease_rows(session, settings.schema) if row.is_held}
    found = [held.get(lease_name(part, of)) for part in range(of)]
    if as_json:
        rows = [row and {"owner": row.owner, "epoch": row.epoch} for row in found]
        say(json.dumps({"parts": of, "held": rows}))
        return
    say(f"{of} part{'' if of == 1 else 's'}")
    if number is None:
        for part, row in enumerate(found):
            say(f"  {part}  {cell(row.owner) + f', epoch {row.epoch}' if row else 'no relay'}")
