"""Switches between relay and Debezium while writers, relay and Connect run; `mode` has the modes.

    relay -> to debezium -> both -> debezium            debezium -> to relay -> both -> relay

Two rules keep the order within each stream. The connector may not start before the relay has sent all events of
transactions that wrote no message for Debezium (`connector.GATE`). The relay reads nothing before Connect has sent all
events of transactions that wrote no outbox row (`mode.RELAY_SENDS`). After that, both send what is left: events twice,
none out of order.

Each step is a condition to wait for and a change of the mode. A new run begins with the step that the mode names, so a
run may be killed at any moment, and another one may turn back. Neither appends nor the relay wait for a switch.
"""

from collections.abc import Iterator
from typing import Any

import psycopg

from eventkit.errors import StorageError
from eventkit.storage.db import database_errors, first_line, in_schema, text_array
from eventkit.storage.debezium.mode import Mode, read_mode, slot_name
from eventkit.storage.debezium.send_again import SendAgain
from eventkit.storage.debezium.slot import Replication

_REFUSED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ConfigurationLimitExceeded)
_CREATE_TIME = "60s"  # for one attempt to create the slot
_MAX_NAMED = 3

_LOCK = "select pg_try_advisory_lock(hashtext(%s), hashtext('debezium'))"
_IS_LOCKED = """select exists (select from pg_locks where locktype = 'advisory' and granted and objsubid = 2
   and database = (select oid from pg_database where datname = current_database())
   and classid::bigint = hashtext(%s)::bigint & 4294967295
   and objid::bigint = hashtext('debezium')::bigint & 4294967295)"""
_SET = """with moved as (
  update {s}.installation set mode = %(to)s where mode = %(from)s returning true
)
insert into {s}.operator_actions (actor, action, subject, detail)
select %(actor)s, 'mode', 'installation', %(from)s || ' -> ' || %(to)s from moved"""

# Transactions that may have read an earlier mode: those that have written to `events`, and those that keep a snapshot.
# A statement locks `events` before it takes its snapshot, so none is missed. A prepared transaction keeps its id.
_OPEN = """select distinct l.virtualtransaction from pg_locks l left join pg_stat_activity a on a.pid = l.pid
 where l.granted and l.pid is distinct from pg_backend_pid() and (
       l.locktype = 'relation' and l.mode = 'RowExclusiveLock' and l.relation = '{s}.events'::regclass
         and l.database = (select oid from pg_database where datname = current_database())
    or l.locktype = 'virtualxid' and l.mode = 'ExclusiveLock' and a.datname = current_database()
         and a.usesysid is not null and a.backend_xmin is not null)"""
_STILL_OPEN = """select l.virtualtransaction,
       min(coalesce('process ' || l.pid::text || ' (' || a.application_name || ')', 'a prepared transaction'))
  from pg_locks l left join pg_stat_activity a on a.pid = l.pid
 where l.virtualtransaction = any(%s::text[]) group by 1 order by 1"""

_LAST = "select coalesce(max(position), 0) from {s}.outbox"
_UNSENT = "select count(*) from (select from {s}.outbox where position <= %s limit 10000) o"
_PARKED = f"""select array(select stream from {{s}}.dead_letters where parked_by = 'relay' and position is not null
 group by stream order by stream limit {_MAX_NAMED})"""
_PAUSED = f"select array(select name from {{s}}.pauses where kind = 'topic' order by name limit {_MAX_NAMED})"
_CLEAR = "delete from {s}.outbox where (select mode from {s}.installation) = 'debezium'"


def is_switching(connection: psycopg.Connection[Any], schema: str) -> bool:
    """Return whether a session runs a switch."""
    with database_errors():
        row = connection.execute(_IS_LOCKED, (_lock_name(schema),)).fetchone()
    return row == (True,)


def _lock_name(schema: str) -> str:
    return f"eventkit {schema}"


class Switch:
    """Moves the mode to `relay` or `debezium`, over an autocommit connection that is its alone.

    Raise StorageError while another switch runs, or where Debezium has lost events that nobody else has sent.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], schema: str, *, actor: str, again: SendAgain | None = None
    ) -> None:
        """`again` gives events back to the relay without waiting for Connect."""
        self._connection = connection
        self._again = again
        self._schema = schema
        self._actor = actor
        self._replication = Replication(connection, schema, slot_name(connection, schema))
        if self._row(_LOCK, _lock_name(schema)) != (True,):
            raise StorageError("another `eventkit db mode` is switching: end it, or wait for it")

    def run(self, target: Mode) -> Iterator[str]:
        """Go on until the mode is `target`; yield a sentence each time that it has to wait."""
        while (mode := read_mode(self._connection, self._schema)) is not target:
            yield from self._step(mode, target)
        if target is Mode.DEBEZIUM:
            yield from self._clear_outbox()
        else:
            yield from self._drop()

    def _step(self, mode: Mode, target: Mode) -> Iterator[str]:
        match mode, target:
            case Mode.RELAY, _:
                self._replication.check_server()
                yield from self._drop()  # of an earlier switch: its reader may have begun before the gate was closed
                self._replication.publish()
                self._move(mode, Mode.TO_DEBEZIUM)
            case Mode.TO_DEBEZIUM, Mode.DEBEZIUM:
                yield from self._until_open_ones_end()
                yield from self._create_slot()
                yield from self._until_relay_has_sent()
                self._move(mode, Mode.BOTH)
            case Mode.BOTH, Mode.DEBEZIUM:
                yield from self._until_debezium_is_ready()
            case Mode.TO_RELAY, Mode.RELAY:
                yield from self._until_open_ones_end()
                yield from self._until_connect_has_sent() if self._again is None else self._send_again(self._again)
                self._move(mode, Mode.BOTH)
            case Mode.DEBEZIUM, _:
                yield from self._clear_outbox()
                self._move(mode, Mode.TO_RELAY)
            case Mode.TO_RELAY, _:
                self._move(mode, Mode.DEBEZIUM)  # turned back: Connect sends everything all the time
            case _:
                self._move(mode, Mode.RELAY)  # the relay sends everything already

    def _move(self, mode: Mode, to: Mode) -> None:
        with database_errors():
            self._connection.execute(in_schema(_SET, self._schema), {"from": mode, "to": to, "actor": self._actor})
        # crash point: mode changed, next condition not checked -> another run continues here

    def _until_open_ones_end(self) -> Iterator[str]:
        """Wait for the transactions that may have read an earlier mode."""
        older = [name for (name,) in self._rows(_OPEN)]
        while rows := self._rows(_STILL_OPEN, text_array(older)):
            older = [name for name, _ in rows]
            named = ", ".join(who for _, who in rows[:_MAX_NAMED])
            plural = "" if len(rows) == 1 else "s"
            yield f"{len(rows)} older transaction{plural} must end first: {named}"

    def _create_slot(self) -> Iterator[str]:
        """Create the slot, behind all transactions that wrote no message for Debezium."""
        while self._replication.look() is None:
            yield "PostgreSQL creates the replication slot after the open transactions of the whole server"
            self._connection.execute(f"set statement_timeout = '{_CREATE_TIME}'")
            with database_errors():
                try:
                    self._replication.create()
                except psycopg.errors.QueryCanceled:
                    continue  # an open transaction: wait again
                except _REFUSED as error:
                    self._move(Mode.TO_DEBEZIUM, Mode.RELAY)
                    raise StorageError(
                        f"PostgreSQL does not create the replication slot: {first_line(error)}. The role needs "
                        "REPLICATION, and the server a free slot (max_replication_slots). The relay sends as before"
                    ) from error
                finally:
                    self._connection.execute("reset statement_timeout")

    def _until_relay_has_sent(self) -> Iterator[str]:
        """Wait until the relay has sent all that was committed up to now."""
        (last,) = self._row(_LAST) or (0,)
        while (left := (self._row(_UNSENT, last) or (0,))[0]) > 0:
            yield f"the relay has {left} older events to send{self._parked()}{self._paused()}"

    def _until_debezium_is_ready(self) -> Iterator[str]:
        """Wait until Connect reads and has caught up, and no stream is parked; a lost slot costs nothing here."""
        place = self._replication.here()
        while True:
            slot = self._replication.look()
            if slot is None or slot.is_lost:
                self._move(Mode.BOTH, Mode.RELAY)
                raise StorageError(
                    f"the replication slot {self._replication.name} is gone: the relay sends everything again, and "
                    "nothing is lost; begin the switch anew"
                )
            parked = self._parked()
            if slot.reader is not None and self._replication.has_passed(slot, place) and not parked:
                self._move(Mode.BOTH, Mode.DEBEZIUM)
                return
            yield self._connect_is_behind(slot.reader, slot.behind) + parked

    def _until_connect_has_sent(self) -> Iterator[str]:
        """Wait until Connect has sent all that was committed up to now."""
        place = self._replication.here()
        while True:
            slot = self._replication.look()
            if slot is None or slot.is_lost:
                raise StorageError(
                    f"the replication slot {self._replication.name} is gone, and with it the place up to which "
                    "Debezium has sent events. Let the relay send the recent ones again, from an age at which Connect "
                    "still ran: `eventkit db mode relay --again-since AGE --catalog PACKAGE.MODULE:CATALOG`"
                )
            if self._replication.has_passed(slot, place):
                return
            yield self._connect_is_behind(slot.reader, slot.behind)

    def _send_again(self, again: SendAgain) -> Iterator[str]:
        """Make outbox rows for events that Debezium may not have sent; the relay does not read them yet."""
        made = 0
        for events in again.run(self._connection, self._schema):
            made += events
            yield f"{made:,} events will be sent again by the relay"

    def _connect_is_behind(self, reader: int | None, behind: int) -> str:
        if reader is None:
            return (
                f"nobody reads the replication slot {self._replication.name}: start the connector of "
                "`eventkit debezium config`, or see the state of its task"
            )
        return (
            f"Connect has {behind:,} bytes of the WAL to read and send (if that lasts, a topic may be missing: see "
            "Connect's log)"
        )

    def _parked(self) -> str:
        (streams,) = self._row(_PARKED) or ([],)
        if not streams:
            return ""
        return f"; the relay has parked streams ({', '.join(streams)}): redrive or discard their letters first"

    def _paused(self) -> str:
        (topics,) = self._row(_PAUSED) or ([],)
        return f"; these topics are paused: {', '.join(topics)}" if topics else ""

    def _clear_outbox(self) -> Iterator[str]:
        """Delete the outbox rows of the modes between; Connect sends their events."""
        yield from self._until_open_ones_end()
        with database_errors():
            self._connection.execute(in_schema(_CLEAR, self._schema))

    def _drop(self) -> Iterator[str]:
        """Drop slot and publication; the closed gate keeps the connector from coming back."""
        while not self._replication.drop():
            yield f"the replication slot {self._replication.name} is still read: stop the connector"
        self._replication.unpublish()

    def _rows(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        with database_errors():
            return self._connection.execute(in_schema(statement, self._schema), params).fetchall()

    def _row(self, statement: str, *params: object) -> tuple[Any, ...] | None:
        rows = self._rows(statement, *params)
        return rows[0] if rows else None
