"""`eventkit catalog asyncapi`: the catalog as an AsyncAPI document."""

import json

import click

from eventkit.cli.catalog.options import CATALOG, load_catalog
from eventkit.cli.common.output import say

_EXAMPLES = """\b
Examples:
  eventkit catalog asyncapi shop.events:shop > asyncapi.yaml
  eventkit catalog asyncapi shop.events:shop --with shop.workers:desk --release 2.4.0
  eventkit catalog asyncapi shop.events:shop --protocol amqp --server broker.example:5672 --json

npx @asyncapi/cli generate fromTemplate asyncapi.yaml @asyncapi/html-template makes pages of it.
"""


@click.command(name="asyncapi", epilog=_EXAMPLES, short_help="Print the catalog as an AsyncAPI 3.1 document.")
@CATALOG
@click.option(
    "--with",
    "receivers",
    multiple=True,
    metavar="PACKAGE.MODULE:PROJECTION",
    help="Describe also this projection, set of handlers or responder as a receiver; may be repeated.",
)
@click.option(
    "--protocol",
    type=click.Choice(["kafka", "amqp", "redis", "stomp"]),
    default="kafka",
    show_default=True,
    help="The broker's protocol, for addresses, headers and bindings.",
)
@click.option("--server", metavar="HOST:PORT", help="The broker that readers connect to.")
@click.option("--release", default="1.0.0", show_default=True, metavar="TEXT", help="The version of the document.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of YAML.")
def asyncapi(
    path: str, *, receivers: tuple[str, ...], protocol: str, server: str | None, release: str, as_json: bool
) -> None:
    """Print channels, operations, messages and JSON Schemas of a catalog as an AsyncAPI 3.1 document."""
    from eventkit.asyncapi import document, yaml_text
    from eventkit.projection.run import load_projections

    found = document(
        load_catalog(path),
        receivers=load_projections(receivers),
        protocol=protocol,
        server=server,
        release=release,
    )
    say(json.dumps(found, indent=2, ensure_ascii=False) if as_json else yaml_text(found).rstrip("\n"))
