"""`eventkit topics`: the broker's topics, which nothing creates by itself.

A topic's number of partitions decides where a stream's events go, so it is chosen once, before the first event.
"""

import click

from eventkit.config import Settings
from eventkit.errors import ConfigurationError
from eventkit.transports import Transport

_PARTITIONS = 6

_EXAMPLES = """\b
Examples:
  eventkit topics create shop.order shop.payment --partitions 12
  eventkit topics check shop.order

A catalog `shop` sends the events of streams `order-...` to the topic `shop.order`, unless it says otherwise.
"""


@click.group(name="topics", epilog=_EXAMPLES)
def command() -> None:
    """Create and check the broker's topics."""


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--partitions",
    type=click.IntRange(min=1),
    default=_PARTITIONS,
    show_default=True,
    help="How many readers can share the work; not to be changed later.",
)
@click.pass_obj
def create(settings: Settings, names: tuple[str, ...], partitions: int) -> None:
    """Create the topics that are missing."""
    transport = _transport(settings)
    created = transport.create_topics(names, partitions=partitions)
    for name in dict.fromkeys(names):
        click.echo(f"{name}: {f'created with {partitions} partitions' if name in created else 'is already there'}")
    transport.close()


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.pass_obj
def check(settings: Settings, names: tuple[str, ...]) -> None:
    """Say whether the broker answers and the topics named are there; exit 1 if not."""
    transport = _transport(settings)
    click.echo(transport.check())
    for name, partitions in transport.partitions(names).items():
        click.echo(f"{name}: {partitions} partitions")
    transport.close()


def _transport(settings: Settings) -> Transport:
    from eventkit.transports import Flag, open_transport

    transport = open_transport(settings.require_transport(), settings.transport_options)
    if Flag.ONE_PROCESS in transport.flags:
        raise ConfigurationError(
            "this transport does not leave its process, so there is no broker to ask: use kafka://host:9092"
        )
    return transport
