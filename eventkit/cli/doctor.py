"""`eventkit doctor`: look at database and broker as a whole, and name every setting that could lose or stall events."""

import json
from collections.abc import Iterator, Sequence

import click

from eventkit.cli.output import cell, say
from eventkit.cli.topics import checked
from eventkit.config import Settings
from eventkit.errors import EventkitError
from eventkit.transports import Finding, Transport

_EXAMPLES = """\b
Examples:
  eventkit doctor
  eventkit doctor shop.order shop.payment       these topics' settings too
  eventkit doctor --json | jq '.findings[] | select(.safe | not)'
"""

_FEW_RIGHTS = 3  # that a role lacks for a purpose: then it was meant for it


@click.command(name="doctor", epilog=_EXAMPLES)
@click.argument("topics", nargs=-1, callback=checked, metavar="[TOPIC...]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")
@click.pass_obj
def command(settings: Settings, topics: Sequence[str], *, as_json: bool) -> None:
    """Look at database and broker, and name what could lose or stall events; exit 1 if anything does."""
    found = [*_file(settings), *_database(settings), *_broker(settings, topics)]
    if as_json:
        fields = Finding.__struct_fields__
        say(json.dumps({"findings": [{name: getattr(each, name) for name in fields} for each in found]}))
    else:
        _show(found)
    raise SystemExit(not all(finding.safe for finding in found))


def _file(settings: Settings) -> Iterator[Finding]:
    if settings.file is not None:
        yield Finding("settings", f"{settings.file}", "this file, the environment, options", safe=True, reason="")


def _database(settings: Settings) -> Iterator[Finding]:
    from eventkit.storage.connection import connect
    from eventkit.storage.verify import differences

    url = settings.require_database()
    try:
        with connect(url, name="doctor", schema=settings.schema) as connection:
            version = connection.info.parameter_status("server_version") or "unknown"
        yield Finding("database", f"PostgreSQL {version}", "a primary with eventkit's tables", safe=True, reason="")
        yield from _grants(settings)
        for difference in differences(url, settings.schema):
            yield Finding("tables", difference, "as this release wants them", safe=False, reason="`eventkit db verify`")
    except EventkitError as error:
        yield Finding("database", str(error), "reachable", safe=False, reason="nothing can be appended or relayed")


def _grants(settings: Settings) -> Iterator[Finding]:
    """Say what roles of `eventkit db roles` lack, and what this session's own role may do."""
    from eventkit.storage.connection import connect
    from eventkit.storage.roles import incomplete, purposes

    with connect(settings.require_database(), name="doctor", schema=settings.schema) as connection:
        lacking, may = incomplete(connection, settings.schema), purposes(connection, settings.schema)
        user = connection.info.user
    reason = "a process of this role ends with `permission denied`: `eventkit db roles --create` grants it"
    for statement in lacking:
        yield Finding("grants", "missing", statement, safe=False, reason=reason)
    able = ", ".join(purpose for purpose, rights in may.items() if not rights)
    short = {purpose: rights for purpose, rights in may.items() if 0 < len(rights) <= _FEW_RIGHTS}
    known = "; ".join(f"for {purpose} it lacks {', '.join(rights)}" for purpose, rights in short.items())
    found = f"{user!r} may act as {able or 'nothing'}" + (f"; {known}" if known else "")
    yield Finding("role", found, "one of `eventkit db roles`", safe=bool(able), reason="see `eventkit db roles`")


def _broker(settings: Settings, topics: Sequence[str]) -> Iterator[Finding]:
    from eventkit.cli.reach import open_broker

    if settings.transport_url is None:
        return
    transport = open_broker(settings, "there is no broker to look at: use kafka://host:9092")
    try:
        yield from transport.findings(topics)
        yield Finding("broker", transport.check(), "reachable", safe=True, reason="")
        yield from _topics(transport, topics)
    except EventkitError as error:
        yield Finding("broker", str(error), "reachable and durable", safe=False, reason="nothing can be published")
    finally:
        transport.close()


def _topics(transport: Transport, topics: Sequence[str]) -> Iterator[Finding]:
    for topic, count in transport.partitions(topics).items() if topics else ():
        yield Finding(topic, f"{count} partitions", "there", safe=True, reason="")


def _show(found: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "setting", "found", "wanted", "because")
    for finding in found:
        mark = Text("ok", "green") if finding.safe else Text("no", "red")
        said = (finding.setting, finding.found, finding.wanted, "" if finding.safe else finding.reason)
        table.add_row(mark, *map(cell, said))
    Console(highlight=False, markup=False, emoji=False).print(table)
