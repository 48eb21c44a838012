"""`eventkit doctor`: check database and broker for every setting that could lose or stall events."""

import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

import click

from eventkit.cli.common.output import cell, number, say
from eventkit.cli.doctor.groups import group_findings
from eventkit.cli.doctor.import_name import import_name_findings
from eventkit.cli.doctor.registry import registry_findings
from eventkit.cli.topics import checked
from eventkit.config import Settings
from eventkit.errors import EventkitError, StorageError, TopicUnusable
from eventkit.transports import Finding, Transport

_EXAMPLES = """\b
Examples:
  eventkit doctor
  eventkit doctor shop.order shop.payment       also topics that have no events yet
  eventkit doctor --json | jq '.findings[] | select(.safe | not)'
"""

_MAX_LACKING = 3  # rights: a role that lacks no more of a purpose's rights was probably made for this purpose


@click.command(name="doctor", epilog=_EXAMPLES)
@click.argument("topics", nargs=-1, callback=checked, metavar="[TOPIC...]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a script.")
@click.pass_obj
def command(settings: Settings, topics: Sequence[str], *, as_json: bool) -> None:
    """Check database and broker for settings that could lose or stall events; exit 1 if there are any.

    The topics of the store's events are always checked; TOPIC adds others. A remark ("--") is no fault.
    """
    known = dict.fromkeys(topics)
    found = [
        *import_name_findings(),
        *_file(settings),
        *_database(settings, known),
        *_broker(settings, known),
        *registry_findings(settings),
    ]
    if as_json:
        fields = Finding.__struct_fields__
        say(json.dumps({"findings": [{name: getattr(each, name) for name in fields} for each in found]}))
    else:
        _show(found)
    raise SystemExit(not all(finding.safe for finding in found))


def _file(settings: Settings) -> Iterator[Finding]:
    if settings.file is not None:
        yield Finding("settings", f"{settings.file}", "this file, the environment, options", safe=True, reason="")


def _database(settings: Settings, topics: dict[str, None]) -> Iterator[Finding]:
    """Check the database, and add the topics of its events to `topics`."""
    from eventkit.insights import database_findings, table_findings
    from eventkit.storage.db import connect, database_errors
    from eventkit.storage.events import known_topics
    from eventkit.storage.schema import Health, differences

    url = settings.require_database()
    try:
        with connect(url, name="doctor", schema=settings.schema) as connection:
            version = connection.info.parameter_status("server_version") or "unknown"
        yield Finding("database", f"PostgreSQL {version}", "a primary with eventkit's tables", safe=True, reason="")
        yield from _grants(settings)
        found = differences(url, settings.schema)
        with connect(url, name="doctor", schema=settings.schema, autocommit=True) as connection, database_errors():
            health = Health(connection, settings.schema)
            yield from table_findings(health, found)
            yield from database_findings(health)
            topics.update(dict.fromkeys(sorted(known_topics(connection, settings.schema))))
    except EventkitError as error:
        yield Finding("database", str(error), "reachable", safe=False, reason="nothing can be appended or relayed")


def _grants(settings: Settings) -> Iterator[Finding]:
    """Report missing grants of the roles of `eventkit db roles`, and the rights of this session's own role."""
    from eventkit.storage.db import connect
    from eventkit.storage.schema import incomplete, purposes

    with connect(settings.require_database(), name="doctor", schema=settings.schema) as connection:
        lacking, may = incomplete(connection, settings.schema), purposes(connection, settings.schema)
        user = connection.info.user
    reason = "a process of this role ends with `permission denied`: `eventkit db roles --create` grants it"
    for statement in lacking:
        yield Finding("grants", "missing", statement, safe=False, reason=reason)
    able = ", ".join(purpose for purpose, rights in may.items() if not rights)
    short = {purpose: rights for purpose, rights in may.items() if 0 < len(rights) <= _MAX_LACKING}
    known = "; ".join(f"for {purpose} it lacks {', '.join(rights)}" for purpose, rights in short.items())
    found = f"{user!r} may act as {able or 'nothing'}" + (f"; {known}" if known else "")
    yield Finding("role", found, "one of `eventkit db roles`", safe=bool(able), reason="see `eventkit db roles`")


def _broker(settings: Settings, topics: Iterable[str]) -> Iterator[Finding]:
    from eventkit.cli.common.preflight import open_broker

    if settings.transport_url is None:
        return
    transport = open_broker(settings, "there is no broker to look at: use kafka://host:9092")
    try:
        found = [_topic(transport, topic) for topic in topics]
        settled = transport.findings([finding.setting for finding in found if finding.safe])
        yield from settled
        yield from _inbox(settings, settled)
        yield from found
        yield Finding("broker", transport.check(), "reachable", safe=True, reason="")
        yield from group_findings(settings, transport)
    except StorageError:
        return  # _database has reported it
    except EventkitError as error:
        yield Finding("broker", str(error), "reachable and durable", safe=False, reason="nothing can be published")
    finally:
        transport.close()


def _inbox(settings: Settings, broker: Iterable[Finding]) -> Iterator[Finding]:
    """Compare the broker's retention of a stopped group's offsets with the age of the inbox's oldest message."""
    from eventkit.storage.db import connect
    from eventkit.storage.projections import oldest

    remembered = next((each.found for each in broker if each.setting == "offsets.retention.minutes"), "")
    if not remembered.isdigit():
        return
    with connect(settings.require_database(), name="doctor", schema=settings.schema, autocommit=True) as connection:
        age = oldest(connection, settings.schema)
    if age is not None and age < timedelta(minutes=int(remembered)):
        reason = (
            "no fault if nothing older was pruned; otherwise a handler whose broker delivers old messages again may "
            "repeat their effects: run `eventkit inbox prune --older-than` with a longer age"
        )
        found, wanted = f"its oldest message came {_span(age)} ago", f"{_span(timedelta(minutes=int(remembered)))}"
        yield Finding("inbox", f"{found}, the broker remembers a group for {wanted}", wanted, safe=True, reason=reason)


def _span(age: timedelta) -> str:
    return f"{age.days} days" if age.days else f"{age.seconds // 60} minutes"


def _topic(transport: Transport, topic: str) -> Finding:
    try:
        count = transport.partitions([topic])[topic]
    except TopicUnusable as error:
        reason = "its events wait in the outbox: `eventkit topics create` makes it"
        return Finding(topic, error.reasons.get(topic, str(error)), "there", safe=False, reason=reason)
    return Finding(topic, number(count, "partition"), "there", safe=True, reason="")


def _show(found: Sequence[Finding]) -> None:
    """Print a paragraph for each finding, no wider than the terminal; the faults come first."""
    width = shutil.get_terminal_size().columns
    for finding in sorted(found, key=lambda each: each.safe):
        mark = "no" if not finding.safe else "--" if finding.reason else "ok"
        text = cell(f"{mark}  {finding.setting}: {finding.found}")
        if not finding.safe:
            text += f" (wanted: {cell(finding.wanted)})"
        say(textwrap.fill(text, width, subsequent_indent="    ", break_on_hyphens=False))
        if mark != "ok":
            say(textwrap.fill(cell(finding.reason), width, initial_indent="    ", subsequent_indent="    "))
    faults = sum(not finding.safe for finding in found)
    say(number(faults, "fault") if faults else "no fault")
