"""`eventkit topics`: create and check the broker's topics; no other command creates one.

The number of partitions decides which partition a stream's events go to, so choose it once, before the first event.
"""

import json
from contextlib import ExitStack

import click

from eventkit.cli.common.operator import acting_user
from eventkit.cli.common.output import number, remark, say
from eventkit.config import Settings
from eventkit.errors import CatalogError, StorageError, TopicUnusable
from eventkit.transports import Transport

_PARTITIONS = 6

_AFTER_RELEASE = (
    "A running relay tries a held topic again within 10 seconds. Start a relay that was refused at its start. If the "
    "other installation's relay still runs, it claims the topic again within an hour: stop it first."
)

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")

_EXAMPLES = """\b
Examples:
  eventkit topics create shop.order shop.payment --partitions 12
  eventkit topics check shop.order
  eventkit topics release shop.order
  eventkit topics check shop.order --json

A catalog `shop` sends the events of streams `order-...` to the topic `shop.order`, unless it says otherwise.
"""


@click.group(name="topics", epilog=_EXAMPLES)
def command() -> None:
    """Create and check the broker's topics."""


def checked(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the topics, each once; raise BadParameter for a name that not all brokers accept."""
    from eventkit.domain.catalog import check_topic

    try:
        return tuple(dict.fromkeys(map(check_topic, names)))
    except CatalogError as error:
        raise click.BadParameter(str(error), context, parameter) from error


@command.command(epilog=_EXAMPLES)
@click.argument("names", nargs=-1, required=True, callback=checked, metavar="NAME...")
@click.option(
    "--partitions",
    type=click.IntRange(min=1),
    default=_PARTITIONS,
    show_default=True,
    help="The highest number of readers that can share the work; it cannot be changed later.",
)
@_JSON
@click.pass_obj
@click.pass_context
def create(
    context: click.Context, settings: Settings, names: tuple[str, ...], partitions: int, *, as_json: bool
) -> None:
    """Create the missing topics; exit 1 if a topic exists with another number of partitions than --partitions."""
    transport = _transport(settings)
    created = transport.create_topics(names, partitions=partitions)
    there = transport.partitions(names)
    if as_json:
        say(json.dumps({"created": created, "topics": there}))
    else:
        for name, count in there.items():
            say(f"{name}: {f'created with {count} partitions' if name in created else 'is already there'}")
    transport.close()
    asked = context.get_parameter_source("partitions") is not click.core.ParameterSource.DEFAULT
    others = {name: count for name, count in there.items() if name not in created and count != partitions}
    if asked and others:
        raise TopicUnusable(
            {
                name: f"it has {count} partitions, not {partitions}: nothing was changed, because another number sends "
                "a stream's later events to another partition"
                for name, count in others.items()
            }
        )


@command.command(epilog=_EXAMPLES, short_help="Check that broker and topics are there.")
@click.argument("names", nargs=-1, callback=checked, metavar="[NAME...]")
@_JSON
@click.pass_obj
def check(settings: Settings, names: tuple[str, ...], *, as_json: bool) -> None:
    """Check that the broker answers, the named topics exist, and the relay does not hold them; exit 1 if not.

    The relay's database knows the held topics; without --database-url they are not looked at.
    """
    transport = _transport(settings)
    broker, there = transport.check(), transport.partitions(names)
    transport.close()
    held = {name: reason for name, reason in _held(settings).items() if name in there} if names else {}
    if as_json:
        say(json.dumps({"broker": broker, "topics": there} | ({"held": held} if held else {})))
    else:
        say(broker)
        for name, count in there.items():
            say(f"{name}: {number(count, 'partition')}")
    if held:
        raise TopicUnusable({name: f"the relay holds it: {reason}" for name, reason in held.items()})


def _held(settings: Settings) -> dict[str, str]:
    """Return the topics that the relay has held in the last minutes; none where no database can be asked."""
    from eventkit.storage.db import connect
    from eventkit.storage.events import held_topics

    if settings.database_url is None:
        return {}
    try:
        with connect(settings.database_url, name="topics", schema=settings.schema, autocommit=True) as connection:
            return held_topics(connection, settings.schema)
    except StorageError as error:
        remark(f"the database cannot be asked for held topics: {error}")
        return {}


@command.command(epilog=_EXAMPLES, short_help="Let another installation send to topics.")
@click.argument("names", nargs=-1, required=True, callback=checked, metavar="NAME...")
@click.option("--as", "actor", metavar="NAME", help="The actor for the record (default: your user's name).")
@_JSON
@click.pass_obj
def release(settings: Settings, names: tuple[str, ...], *, actor: str | None, as_json: bool) -> None:
    """Remove the claim of another installation's relay on topics, once that installation is gone for good.

    The next relay that sends to these topics claims them. A relay that still runs claims them again within an hour.
    It is recorded in the database, if one is given.
    """
    from eventkit.storage.db import connect
    from eventkit.storage.pauses import Pauses

    transport = _transport(settings)
    with ExitStack() as stack:
        record = None
        if settings.database_url is None:
            remark("this is not recorded: no database is given")
        else:
            url, schema = settings.database_url, settings.schema
            record = Pauses(stack.enter_context(connect(url, name="topics", schema=schema, autocommit=True)), schema)
        for name in names:
            transport.release(name)
            if record is not None:
                record.record_release(name, actor=actor or acting_user())
            if not as_json:
                say(f"{name}: released; the next relay that sends to it claims it")
    transport.close()
    say(json.dumps({"released": names}) if as_json else _AFTER_RELEASE)


def _transport(settings: Settings) -> Transport:
    from eventkit.cli.common.preflight import open_broker

    return open_broker(settings, "there is no broker to ask: use kafka://host:9092")
