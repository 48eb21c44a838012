"""Names the sessions that hold the lock of a lease's next epoch, so that no process can take the lease.

A process takes this lock and the lease's row in one statement. A session that holds the lock for longer is a stuck one,
or none of eventkit's. It costs one look at the server's locks.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from eventkit.storage.db import database_errors, plain_array, quoted, text_array
from eventkit.storage.outbox.leases import lock_class

_HOLDERS = """select f.name, k.pid, coalesce(a.application_name, ''), a.backend_start
  from unnest(%(names)s::text[], %(classes)s::int[]) f(name, class)
  left join {s}.leases l on l.name = f.name
  join pg_locks k on k.locktype = 'advisory' and k.objsubid = 2 and k.granted and k.pid <> pg_backend_pid()
   and k.classid::bigint = f.class::bigint & 4294967295
   and k.objid::bigint = (coalesce(l.epoch, 0)::bigint + 1) & 4294967295
   and k.database = (select oid from pg_database where datname = current_database())
  left join pg_stat_activity a on a.pid = k.pid"""


class LockHolder(NamedTuple):
    """A session that prevents a lease from being taken."""

    pid: int
    application: str  # its application_name
    connected_at: datetime | None  # None where this user may not see it


def lock_holders_of(connection: psycopg.Connection[Any], schema: str, leases: Sequence[str]) -> dict[str, LockHolder]:
    """Return the sessions that prevent these free leases from being taken, by lease."""
    if not leases:
        return {}
    params = {"names": text_array(leases), "classes": plain_array([lock_class(schema, name) for name in leases])}
    with database_errors():
        rows = connection.execute(_HOLDERS.format(s=quoted(schema)).encode(), params).fetchall()
    return {name: LockHolder(*holder) for name, *holder in rows}
