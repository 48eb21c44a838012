"""The privileges that each kind of process needs on each table, the least of them, found by tests.

    writer       a service that appends, reads, subscribes, sets deadlines, keeps snapshots and forgets people
    relay        `eventkit relay run`
    projector    `eventkit projector run` of read models, handlers and process managers; `eventkit timers run`
    operator     all commands of `eventkit` for letters, projections, inboxes, keys and old events
    reader       an auditor: lists and verifies, changes nothing
    maintenance  the role that deletes events, for one statement of the operator
    owner        `eventkit db upgrade`: owns schema, tables and function, and needs no grant

S, I, U and D are select, insert, update and delete; `for share` and `for update` need U.
"""

from eventkit.storage.tables import MAINTENANCE_ROLE, VERSION_TABLE

ROLES = ("owner", "writer", "relay", "projector", "operator", "reader", "maintenance")
DEFAULT_PREFIX = "eventkit_"
PRIVILEGES = {"S": "select", "I": "insert", "U": "update", "D": "delete"}

TABLES: dict[str, dict[str, str]] = {
    VERSION_TABLE: {"writer": "S", "relay": "S", "projector": "S", "operator": "S", "reader": "S"},
    "installation": {"writer": "S", "relay": "S", "projector": "SU", "operator": "SU", "reader": "S"},
    "topics": {"relay": "SI", "operator": "S", "reader": "S"},
    "held_topics": {"relay": "SIU", "operator": "S", "reader": "S"},
    "schema_ids": {"relay": "SIU", "reader": "S"},
    "groups": {"projector": "SIUD", "operator": "SUD", "reader": "S"},
    "streams": {"writer": "SIU", "projector": "SIU", "operator": "SU", "reader": "S"},
    "events": {"writer": "SI", "relay": "S", "projector": "SI", "operator": "I", "reader": "S", "maintenance": "SD"},
    "tags": {"writer": "SIU", "projector": "SIU", "reader": "S"},
    "event_tags": {"writer": "SI", "projector": "SI", "operator": "SID", "reader": "S"},
    "outbox": {"writer": "I", "relay": "SD", "projector": "I", "operator": "S", "reader": "S"},
    "debezium_outbox": {"writer": "SID", "projector": "SID", "reader": "S"},
    "amendments": {"writer": "S", "relay": "S", "projector": "S", "operator": "SIUD", "reader": "S"},
    "leases": {"relay": "SIUD", "projector": "SIU", "operator": "SU", "reader": "S"},
    "readers": {"writer": "SIU", "relay": "SIU", "projector": "SIU", "reader": "S"},
    "subject_keys": {"writer": "SIU", "projector": "SIU", "operator": "SIU", "reader": "S"},
    "snapshots": {"writer": "SIU", "projector": "SIU", "reader": "S"},
    "decision_snapshots": {"writer": "SIU", "projector": "SIU", "operator": "D", "reader": "S"},
    "timers": {"writer": "SIUD", "projector": "SIUD", "operator": "S", "reader": "S"},
    "inbox": {"projector": "SIU", "operator": "SUD", "reader": "S"},
    "projections": {"writer": "S", "projector": "SIU", "operator": "SIUD", "reader": "S"},
    "handler_waits": {"projector": "SIUD", "operator": "SD", "reader": "S"},
    "places": {"projector": "SIUD", "operator": "SD", "reader": "S"},
    "checkpoints": {"writer": "S", "projector": "SIUD", "operator": "SIUD", "reader": "S"},
    "rebuilds": {"projector": "S", "operator": "SIUD", "reader": "S"},
    "redrives": {"projector": "SD", "operator": "SIUD", "reader": "S"},
    "dead_letters": {"relay": "SI", "projector": "SIUD", "operator": "SIUD", "reader": "S"},
    "dead_letter_actions": {"projector": "I", "operator": "SI", "reader": "S"},
    "processes": {"relay": "SIUD", "projector": "SIUD", "operator": "SIUD", "reader": "S"},
    "pauses": {"relay": "S", "projector": "S", "operator": "SID", "reader": "S"},
    "operator_actions": {"operator": "SI", "reader": "S"},
    "prunings": {"relay": "S", "projector": "S", "operator": "SIU", "reader": "S"},
}
DRAWN = ("projections", ("projector", "operator"))  # a generation is drawn from its sequence by name
APPENDING = ("writer", "projector")  # they call the function `to_debezium`, which PUBLIC may


def name_of(role: str, prefix: str = DEFAULT_PREFIX) -> str:
    """Return a role's name in the database; a trigger has the name of the maintenance role."""
    return MAINTENANCE_ROLE if role == "maintenance" else f"{prefix}{role}"


def wanted(role: str) -> dict[str, list[str]]:
    """Return the privileges that a role needs, by table."""
    return {table: [PRIVILEGES[each] for each in grants[role]] for table, grants in TABLES.items() if role in grants}
