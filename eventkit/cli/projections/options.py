"""The options and examples that the commands on projections share."""

import click

from eventkit.config import has_password
from eventkit.errors import ConfigurationError

EXAMPLES = """\b
Examples:
  eventkit projection list
  eventkit projection status customer_totals --json
  eventkit projection verify
  eventkit projection rebuild shop.read_models:totals
  eventkit projection rebuild reports.models:sales --from transport
  eventkit projection pause customer_totals --reason "wrong prices since 14:00"
  eventkit projection resume customer_totals
  eventkit projection delete customer_totals --tables

Commands that run code take package.module:projection; the others take the projection's name in the database.
"""

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a script.")


EXACT = click.option(
    "--exact", is_flag=True, help="Count and compare all streams and letters: seconds for each million."
)


def checked_url(_context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    """Return the URL of an option; raise ConfigurationError if it holds a password."""
    if url and has_password(url):
        raise ConfigurationError(
            f"{parameter.opts[0]} holds a password, which every user of this machine can see: use ~/.pgpass"
        )
    return url


STORE_URL = click.option(
    "--store-url", callback=checked_url, metavar="URL", help="The event store, where it is in another database."
)
