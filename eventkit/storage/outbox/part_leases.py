"""The leases of the relay's parts, as one process holds them, and the relay processes that are alive.

The shards of the outbox are divided into `installation.relay_parts` parts. Each part has a lease, as in `leases`: its
holder has the session lock (part, epoch), and another process may take it when that lock is free or the row expired.
A process also has a row and a lock of its own, under a number that it draws at its start. They show that it is alive:
a killed process loses its lock at once, a hung one its row after eight seconds.

Each change is one statement in autocommit. A process that is stopped between two statements keeps no row locked.
"""

import random
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import psycopg

from eventkit.errors import Deposed, StorageError
from eventkit.storage.db import database_errors, in_schema, literal, plain_array, text_array
from eventkit.storage.outbox import leases
from eventkit.storage.outbox.leases import lock_class

PROCESS = "relay process"  # the first words of a process's row
PARTS_GATE = "relay parts"  # starting processes share this lock; a change of the number of parts takes it alone

# A client that hangs within such a transaction loses its session, and with it the lock.
_GATE = """select set_config('idle_in_transaction_session_timeout', '5s', true), {lock}(%s::int, 0)"""
_PARTS = "select relay_parts from {s}.installation"
_JOIN = """insert into {s}.leases (name, epoch, owner, taken_at, expires_at)
  select %(name)s, %(number)s, %(owner)s, clock_timestamp(), clock_timestamp() + %(seconds)s * interval '1 s'
   where pg_try_advisory_lock(%(kind)s::int, %(number)s::int)
  on conflict do nothing"""
_CREATE = """insert into {s}.leases (name, epoch, owner, expires_at)
  select name, 0, '', '-infinity' from unnest(%(names)s::text[]) f(name)
   where not exists (select from {s}.leases l where l.name = f.name) order by name
  on conflict do nothing"""
_FORGET = """delete from {s}.leases where name in (
  select name from {s}.leases where starts_with(name, %(process)s) and expires_at < clock_timestamp() - interval '1 min'
     for update skip locked)"""

# The first row has the locks of this database, `class epoch pid` each. A process that waits for a lock asks for it in
# share mode, so it never counts as the holder.
LOOK = """select null, null, null, string_agg(concat_ws(' ', classid::bigint, objid::bigint, pid), ','), null
  from pg_locks
 where locktype = 'advisory' and objsubid = 2 and granted and mode = 'ExclusiveLock'
   and database = (select oid from pg_database where datname = current_database())
union all
select name, epoch, owner, expires_at::text, extract(epoch from
       greatest(least(expires_at, clock_timestamp() + interval '1 d'), clock_timestamp() - interval '1 d')
       - clock_timestamp())::float8
  from {s}.leases where starts_with(name, 'relay ')"""

# All three lock rows in the order of their names, as a settlement does: no two of them can wait for each other.
_RENEW = """with mine as materialized (
  select l.name from unnest(%(names)s::text[], %(epochs)s::int[]) f(name, epoch)
    join {s}.leases l on l.name = f.name and l.epoch = f.epoch
   order by l.name for no key update of l
), renewed as (
  update {s}.leases l set expires_at = clock_timestamp() + %(seconds)s * interval '1 s'
    from mine where l.name = mine.name returning l.name
)
select (select count(*) from renewed), (select relay_parts from {s}.installation)"""
_RELEASE = """with mine as materialized (
  select l.name from unnest(%(names)s::text[], %(epochs)s::int[]) f(name, epoch)
    join {s}.leases l on l.name = f.name and l.epoch = f.epoch
   order by l.name for no key update of l
)
update {s}.leases l set expires_at = clock_timestamp() from mine where l.name = mine.name"""
_UNLOCK = "select pg_advisory_unlock(class, epoch) from unnest(%(classes)s::int[], %(epochs)s::int[]) f(class, epoch)"
_LEAVE = """with mine as materialized (
  select l.name from unnest(%(names)s::text[], %(epochs)s::int[]) f(name, epoch)
    join {s}.leases l on l.name = f.name and l.epoch = f.epoch
   order by l.name for no key update of l
), left_ as (
  update {s}.leases l set expires_at = clock_timestamp() from mine where l.name = mine.name
)
delete from {s}.leases where name = %(process)s"""

# A row that another process is taking or settling under is left out. The lock of the new epoch comes with the row.
_TAKE = """with free as materialized (
  select l.name, l.epoch + 1 as epoch, f.class
    from unnest(%(names)s::text[], %(epochs)s::int[], %(classes)s::int[]) f(name, epoch, class)
    join {s}.leases l on l.name = f.name and l.epoch = f.epoch
   order by l.name for no key update of l skip locked
), mine as materialized (
  select name, epoch from free where pg_try_advisory_lock(class, epoch)
)
update {s}.leases l
   set epoch = mine.epoch, owner = %(owner)s, taken_at = clock_timestamp(),
       expires_at = clock_timestamp() + %(seconds)s * interval '1 s'
  from mine where l.name = mine.name returning l.name, l.epoch"""
_WATCH = "select pg_advisory_xact_lock_shared(%s::int, %s::int)"


class Parts(msgspec.Struct, frozen=True):
    """Parts of the shards that a process holds: the epoch of each part's lease, among `of` parts."""

    epochs: dict[int, int] = {}
    of: int = 1

    def leases(self) -> dict[str, int]:
        """Return the epochs by the names of the leases."""
        return {lease_name(part, self.of): epoch for part, epoch in self.epochs.items()}


class LeaseRow(NamedTuple):
    """A row of the relay's leases, with the session that holds its lock."""

    name: str
    epoch: int
    owner: str
    expires_at: str
    left: float  # seconds until it expires
    session: int | None
    next_session: int | None = None  # the session that holds the lock of the next epoch: nobody can take the lease

    @property
    def is_held(self) -> bool:
        """Whether its holder is connected and has renewed it in time."""
        return self.session is not None and self.left > 0


class Standing(msgspec.Struct, frozen=True):
    """The processes that are alive and the holder of each part, in one snapshot."""

    members: list[int]  # the numbers of the processes
    holders: dict[int, int | None]  # by part; None: free; a number that is no member's: held by another session
    rows: dict[int, LeaseRow]  # by part


def lease_name(part: int, of: int) -> str:
    """Return the name of a part's lease."""
    return f"relay {part}/{of}"


def pass_gate(connection: psycopg.Connection[Any], schema: str, *, alone: bool) -> None:
    """Take the lock under which relays start, until the transaction ends; `alone` excludes all others."""
    lock = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
    connection.execute(_GATE.format(lock=lock).encode(), (lock_class(schema, PARTS_GATE),))


def lease_rows(connection: psycopg.Connection[Any], schema: str) -> list[LeaseRow]:
    """Return the leases of all relay processes and parts, also of another number of parts."""
    with database_errors():
        (_, _, _, locks, _), *rows = connection.execute(in_schema(LOOK, schema)).fetchall()
    sessions = _sessions(locks or "")
    return [
        LeaseRow(name, epoch, owner, expires_at, left, *(sessions.get((kind, each)) for each in (epoch, epoch + 1)))
        for name, epoch, owner, expires_at, left in rows
        for kind in [_lock(schema, name)]
    ]


class PartLeases:
    """One process's leases, on an autocommit connection that is its alone; used by one thread at a time."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, *, owner: str) -> None:
        self.of = 0  # the number of parts, known after `join`
        self.number = 0
        self._connection = connection
        self._schema = schema
        self._owner = owner
        self._names: list[str] = []
        self._seen: dict[str, tuple[str, float]] = {}  # lease -> its expiry, and since when it is the same

    def join(self) -> float:
        """Become a process among which the parts are shared; return the time of it on the monotonic clock."""
        self.number = random.randrange(1, 2**31)  # noqa: S311 unique, not secret
        with database_errors():
            with self._connection.transaction():  # the number of parts cannot change before the row is there
                pass_gate(self._connection, self._schema, alone=False)
                (self.of,) = self._execute(_PARTS).fetchone() or (1,)
                sent = time.monotonic()
                kind = lock_class(self._schema, PROCESS)
                if self._execute(_JOIN, name=self._process, kind=kind).rowcount != 1:
                    raise Deposed(f"another relay process has drawn the number {self.number}")
            self._names = [lease_name(part, self.of) for part in range(self.of)]
            self._execute(_CREATE, names=text_array(self._names))
            self._execute(_FORGET, process=PROCESS)
        return sent

    def look(self) -> Standing:
        """Return who is alive and who holds each part."""
        rows = [row._replace(left=0.0) if self._is_stale(row) else row for row in self._rows()]
        members = {row.session: row.epoch for row in rows if row.is_held and row.name.startswith(PROCESS)}
        found = {row.name: row for row in rows}
        parts = {part: found.get(name, LeaseRow(name, 0, "", "", 0.0, None)) for part, name in enumerate(self._names)}
        holders = {part: members.get(row.session, 0) if row.is_held else None for part, row in parts.items()}
        return Standing(sorted(members.values()), holders, parts)

    def renew(self, parts: Parts) -> float:
        """Renew this process and its parts; return the time of it on the monotonic clock.

        Raise Deposed when another process has taken a part, or the number of parts has changed.
        """
        held = parts.leases() | {self._process: self.number}
        sent = time.monotonic()
        with database_errors():
            renewed, of = self._execute(_RENEW, **_arrays(held)).fetchone() or (0, 0)
        if renewed != len(held):
            raise Deposed(f"{len(held) - renewed} of the leases of this relay process were taken by others")
        if of != self.of:
            raise Deposed(f"the number of relay parts was changed from {self.of} to {of}")
        return sent

    def take(self, wanted: Collection[int], standing: Standing) -> dict[int, int]:
        """Take free parts, as far as no other process was faster; return them with their epochs."""
        if not wanted:
            return {}
        before = {lease_name(part, self.of): standing.rows[part].epoch for part in wanted}
        with database_errors():
            taken = self._execute(_TAKE, **_arrays(before), classes=self._classes(before)).fetchall()
        # crash point: taken, nothing read yet -> the connection's end frees the locks, another process takes the parts
        return {self._names.index(name): epoch for name, epoch in taken}

    def release(self, parts: Parts) -> None:
        """Give up parts, so that others can take them at once."""
        held = parts.leases()
        with database_errors():
            self._execute(_RELEASE, **_arrays(held))
            self._execute(_UNLOCK, epochs=plain_array(held.values()), classes=self._classes(held))

    def leave(self, parts: Parts) -> None:
        """Give up all parts and the process's own row, and close the connection; never raise."""
        try:
            with database_errors():
                self._execute(_LEAVE, **_arrays(parts.leases()), process=self._process)
        except (StorageError, psycopg.Error):
            pass  # the leases expire
        finally:
            self._connection.close()

    def wait_for_end(self, row: LeaseRow, seconds: float) -> None:
        """Wait until the holder of a lease has ended or released it, up to `seconds`."""
        with database_errors():
            try:
                with self._connection.transaction():
                    self._connection.execute(f"set local lock_timeout = {max(1, round(seconds * 1000))}")
                    self._connection.execute(_WATCH, (lock_class(self._schema, row.name), row.epoch))
            except psycopg.errors.LockNotAvailable:
                return

    @property
    def _process(self) -> str:
        return f"{PROCESS} {self.number}"

    def _is_stale(self, row: LeaseRow) -> bool:
        """Return whether a row has not been renewed for the time of a lease, also where the database's clock jumped."""
        now = time.monotonic()
        expires_at, since = self._seen.get(row.name, ("", now))
        if expires_at != row.expires_at:
            since = now
        self._seen[row.name] = row.expires_at, since
        return now - since > leases.SECONDS

    def _rows(self) -> list[LeaseRow]:
        return lease_rows(self._connection, self._schema)

    def _classes(self, names: Iterable[str]) -> str:
        return plain_array([_lock(self._schema, name) for name in names])

    def _execute(self, statement: str, **params: object) -> psycopg.Cursor[Any]:
        known = {"number": self.number, "owner": self._owner, "seconds": leases.SECONDS}
        return self._connection.execute(in_schema(statement, self._schema), {**known, **params})


def _arrays(held: Mapping[str, int]) -> dict[str, str]:
    return {"names": text_array(held), "epochs": plain_array(held.values())}


def _lock(schema: str, name: str) -> int:
    return lock_class(schema, PROCESS if name.startswith(PROCESS) else name)


def _sessions(locks: str) -> dict[tuple[int, int], int]:
    """Return the sessions that hold locks, by class and epoch as they were asked for (signed, of four bytes)."""
    numbers = (tuple(map(int, lock.split())) for lock in locks.split(",") if lock)
    return {(_signed(kind), _signed(epoch)): session for kind, epoch, session in numbers}


def _signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number


def of_parts(parts: Collection[int], of: int) -> str:
    """Return the condition that a row of the outbox belongs to one of the parts."""
    if len(parts) == 1:
        return f"o.shard %% {of} = {next(iter(parts))}"
    return f"o.shard %% {of} = any({literal(plain_array(parts))}::int[])"
