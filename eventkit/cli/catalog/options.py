"""The catalog that a subcommand is about, and the examples that each of them prints."""

from typing import TYPE_CHECKING

import click

from eventkit.errors import CatalogError

if TYPE_CHECKING:
    from eventkit.domain.catalog import Catalog

EXAMPLES = """\b
Examples:
  eventkit catalog show shop.events:shop
  eventkit catalog export shop.events:shop --types typescript > shop.ts
  eventkit catalog export shop.events:shop > catalog.json
  eventkit catalog check shop.events:shop
  eventkit catalog check shop.events:shop --against catalog.json
  git show main:catalog.json | eventkit catalog check shop.events:shop --against - --for old-events
  eventkit catalog check shop.events:shop --registry https://registry:8081 --format github
  eventkit catalog register shop.events:shop --registry https://registry:8081

Keep catalog.json beside the code: a build compares with it, a release writes it anew.
"""
CATALOG = click.argument("path", metavar="PACKAGE.MODULE:CATALOG")


def load_catalog(path: str) -> "Catalog":
    """Return the catalog at a path such as `shop.events:shop`; raise CatalogError if there is none."""
    from eventkit.domain.catalog import Catalog
    from eventkit.projection.run import attribute_at

    value = attribute_at(path, what="catalog", wrong=CatalogError)
    if not isinstance(value, Catalog):
        raise CatalogError(f"{path!r} is a {type(value).__name__}, not a Catalog")
    return value
