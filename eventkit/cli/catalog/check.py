"""`eventkit catalog check`: compare a catalog with the last release's export, or with a schema registry."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eventkit.cli.catalog.findings import CatalogFinding, annotations, in_json
from eventkit.cli.catalog.options import CATALOG, EXAMPLES, load_catalog
from eventkit.cli.catalog.registry_options import FROM_SETTINGS, SUBJECTS, opened_registry, subject_names
from eventkit.cli.common.output import say
from eventkit.config import Settings
from eventkit.errors import ConfigurationError

if TYPE_CHECKING:
    from eventkit.domain.catalog import Description
    from eventkit.registry import SchemaChange

_FOR = {"old-events": ("old events",), "old-readers": ("old readers",), "both": ("old events", "old readers")}


@click.command(name="check", epilog=EXAMPLES, short_help="List what a release would break; exit 1 if anything.")
@CATALOG
@click.option("--against", metavar="OLD", help="The file that `export` wrote at the last release; - is stdin.")
@click.option(
    "--for",
    "concern",
    type=click.Choice(list(_FOR)),
    default="both",
    show_default=True,
    help="Old events that new code reads, or old code that reads new events.",
)
@click.option(
    "--registry",
    "url",
    metavar="[URL]",
    is_flag=False,
    flag_value=FROM_SETTINGS,
    help="A schema registry, whose compatibility levels hold; without URL the one of the settings.",
)
@SUBJECTS
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "github"]),
    default="text",
    show_default=True,
    help="Sentences, or annotations of a GitHub workflow.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")
@click.pass_obj
def check(
    settings: Settings, /, path: str, against: str | None, concern: str, *, as_json: bool, **options: str | None
) -> None:
    """Check that a catalog can read its old events, and list the changes that break something AGAINST an older one.

    With --registry, changes that a subject's compatibility level forbids are listed, too.
    Personal data that the new catalog would write in plain text is always listed, with each value of --for.
    Exit code 1 if anything would break, 0 if nothing.
    """
    from eventkit.domain.catalog import describe

    catalog = load_catalog(path)
    new = describe(catalog)
    found = _breaks(against, new) if against else []
    found = [each for each in found if each.whom in (*_FOR[concern], "people")]
    changes = _changes(settings, new, options["url"], options["subjects"]) if options["url"] else []
    findings = found + [CatalogFinding(change.broken, str(change), change.type) for change in changes]
    if as_json:
        whom = {name.replace(" ", "_"): _sentences(found, name) for name in ("old events", "old readers", "people")}
        registry = {"registry": [change._asdict() for change in changes]} if options["url"] else {}
        say(in_json({**whom, **registry}, catalog=new.catalog, types=len(new.types)))
    elif options["form"] == "github":
        say("\n".join(annotations(findings, catalog, path)), nl=bool(findings))
    else:
        say("\n".join(map(str, findings)) or _fine(new, against, options["url"]))
    raise SystemExit(bool(findings))


def _breaks(against: str, new: "Description") -> list[CatalogFinding]:
    from eventkit.domain.catalog import breaks, description_of

    found = breaks(description_of(_text(against), where=against), new)
    whom = {"old events": found.old_events, "old readers": found.old_readers, "people": found.people}
    return [CatalogFinding(who, one, found.about.get(one)) for who, breaking in whom.items() for one in breaking]


def _changes(settings: Settings, new: "Description", url: str | None, subjects: str | None) -> "list[SchemaChange]":
    from eventkit.registry import planned_schemas, schema_changes

    planned = planned_schemas(new, subject_names(settings, subjects))
    with opened_registry(settings, url) as registry:
        return schema_changes(registry, planned)


def _sentences(findings: list[CatalogFinding], whom: str) -> list[str]:
    return [each.sentence for each in findings if each.whom == whom]


def _fine(new: "Description", against: str | None, url: str | None) -> str:
    others = [f"breaks nothing of {against}"] if against else []
    others += ["the registry accepts its schemas"] if url else []
    return " and ".join([f"catalog {new.catalog} can read its old events ({len(new.types)} types)", *others])


def _text(against: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if against == "-" else Path(against).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{against} cannot be read: {error.strerror}") from error
