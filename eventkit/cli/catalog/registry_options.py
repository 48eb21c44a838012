"""The options of the subcommands that ask a schema registry."""

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from eventkit.config import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventkit.registry import SchemaRegistry, SubjectNames

FROM_SETTINGS = "registry_url"  # the value of an option `--registry` without a URL
SUBJECTS = click.option(
    "--subjects",
    type=click.Choice(["record", "topic-record"]),
    help="Name subjects <catalog>.<type>, or <topic>-<catalog>.<type> (default: the setting registry_subjects).",
)


@contextmanager
def opened_registry(settings: Settings, url: str | None) -> "Iterator[SchemaRegistry]":
    """Yield the registry at a URL, or the one of the settings; a URL with a password is refused."""
    from eventkit.registry import SchemaRegistry

    given = url if url and url != FROM_SETTINGS else None
    chosen = load_settings(registry_url=given) if given else settings
    with closing(SchemaRegistry(chosen.require_registry())) as registry:
        yield registry


def subject_names(settings: Settings, given: str | None) -> "SubjectNames":
    """Return how subjects are named."""
    from eventkit.registry import SubjectNames

    return SubjectNames(given or settings.registry_subjects)
