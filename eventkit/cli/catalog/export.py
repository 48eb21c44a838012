"""`eventkit catalog export`: a catalog in JSON, to keep beside the code of a release, or as types for a client."""

import click

from eventkit.cli.catalog.options import CATALOG, EXAMPLES, load_catalog
from eventkit.cli.common.output import say


@click.command(name="export", epilog=EXAMPLES, short_help="Print a catalog's types, versions and schemas as JSON.")
@CATALOG
@click.option(
    "--types",
    "language",
    type=click.Choice(["typescript", "pydantic"]),
    help="Print types for a client instead: TypeScript by npx, or Pydantic models by the extra `types`.",
)
def export(path: str, language: str | None) -> None:
    """Print a catalog's types, versions, topics and JSON Schemas, for `check --against` of the next release.

    With --types, print source code in another language for the current version of each event.
    """
    from eventkit.cli.catalog.typed_clients import types_of
    from eventkit.domain.catalog import describe

    catalog = load_catalog(path)
    say(describe(catalog).to_json() if language is None else types_of(catalog, language), nl=False)
