"""Names the sessions that a swap or a delete waits for; called right after a lock timeout, on the same session."""

from collections.abc import Sequence
from typing import Any

import psycopg

from eventkit.storage.db.sql_text import qualified

_HOLDERS = """
select distinct coalesce('server process ' || l.pid::text, 'a prepared transaction'), nullif(a.application_name, ''),
       a.usename, a.state, extract(epoch from clock_timestamp() - a.xact_start)::int,
       left(regexp_replace(a.query, '\\s+', ' ', 'g'), 60)
  from pg_locks l left join pg_stat_activity a on a.pid = l.pid
 where l.granted and l.pid is distinct from pg_backend_pid()
   and l.database = (select oid from pg_database where datname = current_database())
   and (l.locktype = 'advisory' and l.classid::int8 = %(gate)s and l.objid::int8 = %(key)s::int8 & 4294967295
     or l.locktype = 'relation' and l.relation = any(%(oids)s::oid[]))
"""


def lock_holders(connection: psycopg.Connection[Any], *, gate: tuple[int, int], oids: Sequence[int] = ()) -> str:
    """Return the sessions that hold a gate or a lock on tables now, as one phrase.

    A transaction that ended after the timeout is not found any more.
    """
    params = {"gate": gate[0], "key": gate[1], "oids": list(oids)}
    found = [_phrase(*row) for row in connection.execute(qualified(_HOLDERS), params)]
    return "; ".join(found) or "a transaction that has ended meanwhile"


def _phrase(
    holder: str, application: str | None, user: str | None, state: str | None, age: int | None, query: str
) -> str:
    name = f" ({application or user})" if application or user else ""
    return f"{holder}{name}, {state or 'in doubt'}" + (f" for {age} s" if age is not None else "") + f": {query or '-'}"
