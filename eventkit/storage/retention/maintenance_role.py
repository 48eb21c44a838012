"""Deletes events as the maintenance role, for one statement; an operator has made the role and granted it.

`events` refuses every DELETE of another role, also of the table's owner and of a superuser. So no application deletes
events by mistake: only a role with the grant can.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from eventkit.errors import MaintenanceDenied
from eventkit.storage.db import quoted
from eventkit.storage.tables import MAINTENANCE_ROLE

_RIGHTS = f"""
select '"' || replace(current_user, '"', '""') || '"',
       r.oid is not null, r.oid is not null and pg_has_role(current_user, r.oid, 'member'),
       r.oid is not null and has_schema_privilege(r.oid, %(schema)s, 'usage'),
       r.oid is not null and has_table_privilege(r.oid, %(events)s, 'select')
                         and has_table_privilege(r.oid, %(events)s, 'delete')
  from (select) one left join pg_roles r on r.rolname = '{MAINTENANCE_ROLE}'
"""


def check_maintenance(connection: psycopg.Connection[Any], schema: str) -> None:
    """Raise MaintenanceDenied, with the SQL that an administrator has to run, where this session may not delete."""
    events = f"{quoted(schema)}.events"
    row = connection.execute(_RIGHTS.encode(), {"schema": schema, "events": events}).fetchone()
    user, exists, member, usage, rights = row or ("", False, False, False, False)
    missing = {
        f"create role {MAINTENANCE_ROLE} nologin": exists,
        f'grant usage on schema "{schema}" to {MAINTENANCE_ROLE}': usage,
        f"grant select, delete on {events} to {MAINTENANCE_ROLE}": rights,
        f"grant {MAINTENANCE_ROLE} to {user}": member,
    }
    statements = [statement for statement, there in missing.items() if not there]
    if statements:
        problem = "is missing" if not exists else f"lacks a grant that {user} needs"
        raise MaintenanceDenied(
            f"events are deleted as the role {MAINTENANCE_ROLE} alone, which {problem}: an administrator runs "
            f"`{'; '.join(statements)};`"
        )


@contextmanager
def maintenance(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Use the role within the caller's transaction; an error ends that transaction, and the role with it."""
    connection.execute(f"set local role {MAINTENANCE_ROLE}".encode())
    yield
    connection.execute(b"reset role")
