"""The heartbeats of running processes: a row each, renewed every few seconds, deleted at a clean end.

A row whose process has died, or hangs, is no longer renewed. It stays for a day, so that operators see it. A process
that crashes again and again leaves twenty such rows. A process that ends cleanly notes its end in the rows of the dead
ones whose work it has done: their work is not missing, and the last process of a projection is known.
"""

from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg

from eventkit.storage.db import in_schema

GONE = 15.0  # seconds without a heartbeat until a process counts as gone: three were missed

_BEAT = """insert into {s}.processes as p (id, role, name, host, pid, version, started_at, state)
values (%(id)s, %(role)s, %(name)s, %(host)s, %(pid)s, %(version)s,
        clock_timestamp() - make_interval(secs => %(age)s), %(state)s::jsonb)
on conflict (id) do update set seen_at = excluded.seen_at, state = excluded.state"""
# A successor has started after the last sign of life of a dead process, or has outlived it, and has done its work.
_SUCCEED = f"""update {{s}}.processes p set state = p.state || jsonb_build_object('successor', jsonb_build_object(
         'host', own.host, 'pid', own.pid, 'ended_at', clock_timestamp()))
  from {{s}}.processes own
 where own.id = %(id)s and p.id <> own.id and p.role = own.role
   and p.seen_at < greatest(own.started_at, clock_timestamp() - interval '{GONE} s')
   and (p.name = own.name
     or p.state -> 'projections' ?| array(select jsonb_object_keys(own.state -> 'projections')))"""
_END = "delete from {s}.processes where id = %(id)s"
_FORGET = f"""delete from {{s}}.processes where seen_at < clock_timestamp() - interval '1 day' or id in (
  select id from {{s}}.processes where role = %(role)s and name = %(name)s
     and seen_at < clock_timestamp() - interval '{GONE} s' order by seen_at desc offset 20)"""


class WorkerProcess(NamedTuple):
    """The identity of a process in its row."""

    id: UUID
    role: str  # relay, projector, timers, responder, rebuild
    name: str
    host: str
    pid: int
    version: str


class Heartbeats:
    """The rows of one schema, over an autocommit connection."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema

    def beat(self, process: WorkerProcess, *, age: float, state: dict[str, Any]) -> None:
        """Write or renew a process's row, `age` seconds after its start."""
        params = {**process._asdict(), "age": age, "state": msgspec.json.encode(state).decode()}
        self._connection.execute(in_schema(_BEAT, self._schema), params)

    def end(self, process: UUID) -> None:
        """Delete a process's row, and note its end in the rows of the dead processes whose work it has done."""
        for statement in (_SUCCEED, _END):
            self._connection.execute(in_schema(statement, self._schema), {"id": process})

    def forget_old(self, role: str, name: str) -> None:
        """Delete the rows of processes that were not seen for a day, and all but twenty gone ones of this kind."""
        self._connection.execute(in_schema(_FORGET, self._schema), {"role": role, "name": name})
