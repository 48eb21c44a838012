"""`eventkit debezium`: the configuration of the connector that sends the events in place of the relay."""

import json

import click

from eventkit.cli.common.output import remark, say
from eventkit.config import Settings

_EXAMPLES = """\b
Examples:
  eventkit debezium config > connector.json
  eventkit debezium config --database-host db.internal --database-user debezium \\
      --database-password '${file:/run/secrets/debezium:password}' > connector.json
  curl -H 'Content-Type: application/json' --data @connector.json http://connect:8083/connectors
  eventkit db mode debezium
"""


@click.group(name="debezium", epilog=_EXAMPLES)
def command() -> None:
    """Let Debezium send the events, in place of the relay."""


@command.command(epilog=_EXAMPLES, short_help="Print the connector for Kafka Connect.")
@click.option("--name", metavar="NAME", help="The connector's name (default: that of its replication slot).")
@click.option("--topic-prefix", metavar="NAME", help="Of Debezium's own topics, not the events' (default: the name).")
@click.option("--tasks", type=click.IntRange(1), default=1, show_default=True, help="tasks.max; Debezium uses one.")
@click.option("--database-host", "host", metavar="HOST", help="As Connect sees it (default: that of the URL).")
@click.option("--database-port", "port", type=click.IntRange(1, 65535), help="The same.")
@click.option("--database-user", "user", metavar="NAME", help="A role with REPLICATION that may read the schema.")
@click.option("--database-password", "password", metavar="TEXT", help="Or a reference, such as ${env:NAME}.")
@click.option("--set", "more", multiple=True, metavar="NAME=VALUE", help="Another property of the connector.")
@click.pass_obj
def config(  # noqa: PLR0913 one parameter an option
    settings: Settings, *, name: str | None, topic_prefix: str | None, tasks: int, host: str | None, port: int | None,
    user: str | None, password: str | None, more: tuple[str, ...],
) -> None:  # fmt: skip
    """Print the connector as Kafka Connect's API takes it: the topics, keys, headers and payloads are the relay's."""
    from eventkit.storage.db import connect
    from eventkit.storage.debezium import Connector, connector_config, heartbeat_topic, slot_name

    url = settings.require_database()
    with connect(url, name="debezium", schema=settings.schema, autocommit=True) as session:
        slot = slot_name(session, settings.schema)
        known = {**session.info.get_parameters(), "password": session.info.password}
    chosen = {"host": host, "port": port, "user": user, "password": password}
    parts = known | {key: value for key, value in chosen.items() if value is not None}
    found = connector_config(
        Connector(
            name=name or slot, schema=settings.schema, slot=slot, database=parts,
            topic_prefix=topic_prefix or name or slot, tasks=tasks,
        )
    )  # fmt: skip
    found["config"] |= dict(_pair(text) for text in more)
    if parts.get("password") and not str(parts["password"]).startswith("${"):
        remark("the output has the database's password: --database-password can name a reference in its place")
    beats = heartbeat_topic(found["config"]["topic.prefix"])
    remark(
        f"the connector writes heartbeats to the topic {beats}, and sends no events while it is missing: create it "
        f"with `eventkit topics create {beats} --partitions 1`, unless your brokers create topics by themselves"
    )
    say(json.dumps(found, indent=2))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE, such as heartbeat.interval.ms=10000")
    return name, value
