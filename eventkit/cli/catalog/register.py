"""`eventkit catalog register`: register the schemas of a catalog's events at a schema registry."""

import json

import click

from eventkit.cli.catalog.options import CATALOG, load_catalog
from eventkit.cli.catalog.registry_options import SUBJECTS, opened_registry, subject_names
from eventkit.cli.common.output import say
from eventkit.config import Settings

_EXAMPLES = """\b
Examples:
  eventkit catalog register shop.events:shop --registry https://registry:8081
  EVENTKIT_REGISTRY_URL=https://ci:secret@registry:8081 eventkit catalog register shop.events:shop
  eventkit catalog register shop.events:shop --subjects topic-record

A release registers before its services start. What is registered already stays as it is.
"""


@click.command(name="register", epilog=_EXAMPLES, short_help="Register a catalog's schemas at a schema registry.")
@CATALOG
@click.option("--registry", "url", metavar="URL", help="The schema registry (default: the setting registry_url).")
@SUBJECTS
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")
@click.pass_obj
def register(settings: Settings, path: str, url: str | None, subjects: str | None, *, as_json: bool) -> None:
    """Register the JSON Schema of each event type of a catalog, unless the registry has it.

    All schemas are checked first. If a compatibility level forbids one, nothing is registered, and the exit code is 1.
    """
    from eventkit.domain.catalog import describe
    from eventkit.registry import planned_schemas, schema_changes

    planned = planned_schemas(describe(load_catalog(path)), subject_names(settings, subjects))
    with opened_registry(settings, url) as registry:
        changes = schema_changes(registry, planned)
        ids = {} if changes else {each.subject: registry.register(each.subject, each.text) for each in planned}
    if as_json:
        say(json.dumps({"registered": ids, "forbidden": [change._asdict() for change in changes]}))
    else:
        lines = [f"{subject}: id {number}" for subject, number in ids.items()]
        refused = [f"{change.broken}: {change}" for change in changes]
        nothing = [*refused, "nothing is registered"]
        if not planned:
            nothing = ["the catalog has no types of its own that go to a broker"]
        say("\n".join(lines or nothing))
    raise SystemExit(bool(changes))
