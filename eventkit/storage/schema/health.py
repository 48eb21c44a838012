"""Reads the state of a database for `eventkit doctor`; no query's cost grows with events, streams or letters."""

from typing import Any, NamedTuple

import psycopg

from eventkit.storage.db import in_schema, quoted

SOME = 10_000  # rows that a count reads at most

_WAITING = f"""select (select count(*) from (select from {{s}}.outbox limit {SOME}) o),
  (select extract(epoch from clock_timestamp() - e.recorded_at)::float8 from {{s}}.events e
    where e.position = (select position from {{s}}.outbox order by position limit 1))"""
_LEASES = "select name, owner, expires_at > clock_timestamp() from {s}.leases order by name"
_PARTS = "select coalesce((select relay_parts from {s}.installation), 1)"
# A loose scan over the letters' index: one step for each projection, and for the relay.
_LETTERS = f"""with recursive p(by) as (
  (select parked_by from {{s}}.dead_letters order by parked_by limit 1)
  union all
  select (select d.parked_by from {{s}}.dead_letters d where d.parked_by > p.by order by d.parked_by limit 1)
    from p where by is not null
)
select by, (select count(*) from (select from {{s}}.dead_letters d where d.parked_by = p.by limit {SOME}) c)
  from p where by is not null"""
_SLOTS = """select slot_name, coalesce(plugin, slot_type), active, coalesce(wal_status, ''),
       case when not pg_is_in_recovery() then pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint end
  from pg_replication_slots where database is null or database = current_database() order by slot_name"""
_PUBLICATIONS = """select pubname, 'for all tables' from pg_publication where puballtables
union all
select p.pubname, 'for tables in schema ' || n.nspname
  from pg_publication_namespace x join pg_publication p on p.oid = x.pnpubid join pg_namespace n on n.oid = x.pnnspid
 where n.nspname = %(schema)s or n.nspname in (
   select split_part(replace(t, '"', ''), '.', 1) from {s}.projections p, unnest(p.tables) t)
 order by 1"""
_SESSIONS = "select distinct application_name from pg_stat_activity where datname = current_database()"
_SETTINGS = """select current_setting('server_encoding'),
  exists (select from pg_roles where rolname = %(schema)s)"""

_REQUIRED = """select c.relname || '.' || attname from pg_attribute join pg_class c on c.oid = attrelid
 where c.relnamespace = to_regnamespace(%(name)s) and c.relkind = 'r' and attnum > 0 and not attisdropped
   and attnotnull and not atthasdef and attidentity = ''"""


class UnsentEvents(NamedTuple):
    """Events in the outbox, 10,000 at most, and the age of the oldest in seconds."""

    events: int
    age: float | None


class HeldLease(NamedTuple):
    """A lease, and whether it is held now."""

    name: str
    owner: str
    is_held: bool


class ReplicationSlot(NamedTuple):
    """A replication slot; `retained` is None where this role or server does not show it."""

    name: str
    plugin: str
    is_active: bool
    wal_status: str
    retained: int | None  # bytes


class Health:
    """The state of one schema, over an autocommit connection; read only."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self.connection = connection
        self.schema = schema

    def waiting(self) -> UnsentEvents:
        """Return the number of unsent events and the age of the oldest."""
        return UnsentEvents(*self._rows(_WAITING)[0])

    def leases(self) -> list[HeldLease]:
        """Return all leases that were ever taken."""
        return [HeldLease(*row) for row in self._rows(_LEASES)]

    def relay_parts(self) -> int:
        """Return the number of parts into which relays divide the shards."""
        return int(self._rows(_PARTS)[0][0])

    def letters(self) -> dict[str, int]:
        """Return the number of dead letters by `parked_by`, 10,000 each at most."""
        return dict(self._rows(_LETTERS))

    def slots(self) -> list[ReplicationSlot]:
        """Return the replication slots of this database, and those of the whole server."""
        return [ReplicationSlot(*row) for row in self._rows(_SLOTS)]

    def publications(self) -> list[tuple[str, str]]:
        """Return the publications of all tables or whole schemas that include eventkit's tables or read models.

        Each is its name and its scope.
        """
        return [(name, scope) for name, scope in self._rows(_PUBLICATIONS)]

    def sessions(self) -> set[str]:
        """Return the names of the applications that are connected to this database, as far as this role sees them."""
        return {name for (name,) in self._rows(_SESSIONS) if name}

    def settings(self) -> tuple[str, bool]:
        """Return the server's encoding, and whether a role is named like the schema."""
        encoding, named = self._rows(_SETTINGS)[0]
        return encoding, named

    def required_columns(self) -> set[str]:
        """Return the columns of eventkit's tables that every insert must give a value, as `table.column`."""
        return {name for (name,) in self._rows(_REQUIRED)}

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        names = {"schema": self.schema, "name": quoted(self.schema)}
        params = {name: value for name, value in names.items() if f"%({name})s" in statement}
        return self.connection.execute(in_schema(statement, self.schema), params or None).fetchall()
