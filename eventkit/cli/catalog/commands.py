"""The group `eventkit catalog`, made of the subcommands in the modules beside this one."""

import click

from eventkit.cli.catalog.asyncapi import asyncapi
from eventkit.cli.catalog.check import check
from eventkit.cli.catalog.export import export
from eventkit.cli.catalog.options import EXAMPLES
from eventkit.cli.catalog.register import register
from eventkit.cli.catalog.show import show


@click.group(name="catalog", epilog=EXAMPLES)
def command() -> None:
    """Check a catalog of events before a release."""


command.add_command(asyncapi)
command.add_command(check)
command.add_command(export)
command.add_command(register)
command.add_command(show)
