"""The findings of `eventkit doctor` about consumer groups: abandoned groups, groups without a row, foreign groups."""

from collections.abc import Iterator

from eventkit.config import Settings
from eventkit.transports import Finding, Transport

_MAX_NAMES = 5  # foreign groups that are named
_FILLS = "Redis cannot trim a topic that a group has not read, and a queue without a reader grows for ever"


def group_findings(settings: Settings, transport: Transport) -> Iterator[Finding]:
    """Remove abandoned groups; report those that stay, and groups of this installation that have no row."""
    from eventkit.projection.define import short
    from eventkit.projection.run import broker_of, remove_abandoned
    from eventkit.storage.db import connect
    from eventkit.storage.events import topics_in_use
    from eventkit.storage.projections import ConsumerGroups
    from eventkit.storage.schema import look

    broker = broker_of(settings.require_transport())
    with connect(settings.require_database(), name="doctor", schema=settings.schema, autocommit=True) as connection:
        left = remove_abandoned(connection, settings.schema, transport, broker)
        known = {group.name for group in ConsumerGroups(settings.schema).all(connection)}
        mark = f".{short(look(connection, settings.schema).id)}"
        topics = topics_in_use(connection, settings.schema)
    for group in left:
        reason = f"{_FILLS}: end its members, or delete it at the broker"
        yield Finding(f"group {group.name}", "of a projection that was deleted", "removed", safe=False, reason=reason)
    others = []
    for name in transport.groups(topics):
        if name in known:
            continue
        if not name.endswith(mark) and f"{mark}." not in name:
            others.append(name)
        else:
            reason = f"{_FILLS}: delete it, unless a copy of this database that was not adopted reads with it"
            yield Finding(f"group {name}", "at the broker, in no row", "a row of `groups`", safe=False, reason=reason)
    if others:
        more = f" and {len(others) - _MAX_NAMES} more" if len(others) > _MAX_NAMES else ""
        reason = f"other services read these topics, which is no fault; if one of them is no longer used: {_FILLS}"
        found = f"{', '.join(others[:_MAX_NAMES])}{more}"
        yield Finding("groups of others", found, "those that you know", safe=True, reason=reason)
