"""`eventkit catalog export`: a catalog in JSON, to keep beside the code of a release."""

import click

from eventkit.cli.catalog.options import CATALOG, EXAMPLES, load_catalog
from eventkit.cli.common.output import say


@click.command(name="export", epilog=EXAMPLES, short_help="Print a catalog's types, versions and schemas as JSON.")
@CATALOG
def export(path: str) -> None:
    """Print a catalog's types, versions, topics and JSON Schemas, for `check --against` of the next release."""
    from eventkit.domain.catalog import describe

    say(describe(load_catalog(path)).to_json(), nl=False)
