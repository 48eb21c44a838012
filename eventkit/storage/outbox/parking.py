"""Parks a stream in the relay at an event that the broker refuses, and leaves the parked streams out when it reads.

    refuse      the broker refuses an event, alone                         `eventkit.relay.bisect` finds it
    park        a letter marks the position of the event                   `RelayParking.park`
    wait        the stream's events stay in the outbox from there on       `not_parked`, a condition of each read
    redrive     an operator removes the letters and raises a counter       `eventkit.storage.dead_letters.redrive`

The relay compares the parked streams and the counter each second (`read_parked`), and reads anew when they change.
"""

import logging
from typing import Any

import msgspec
import psycopg

from eventkit.observability.log_fields import LogFields
from eventkit.observability.rarely import Rarely
from eventkit.storage.db import database_errors, in_schema, literal, plain_array, text_array
from eventkit.storage.debezium import RELAY_SENDS
from eventkit.storage.outbox.settlement import CURRENT_EPOCHS, Settlement

logger = logging.getLogger("eventkit.relay")

_PARK = f"""{CURRENT_EPOCHS}, parked as (
  insert into {{s}}.dead_letters (parked_by, stream, version, position, event_id, type, cause, error, attempts)
  select 'relay', e.stream, e.version, e.position, e.id, e.type, 'refused', %(error)s, 1
    from {{s}}.events e where e.position = any(%(positions)s::bigint[]) and (select holds from verdict)
  on conflict do nothing
  returning stream, version, event_id, type
)
select holds, p.* from verdict left join parked p on true"""

_PARKED_AS_PARAMETER = 50  # streams; more are written into the statement
_PARKED_IN_MEMORY = 1_000  # streams; where there are more, each row is looked up among the letters

_PARKED = f"""select stream, min(position) from {{s}}.dead_letters where parked_by = 'relay'
 group by stream order by stream limit {_PARKED_IN_MEMORY + 1}"""
_STATE = f"select relay_redrives, {RELAY_SENDS} from {{s}}.installation"

_BELOW_LETTERS = """not exists (select from unnest(%(parked)s::text[], %(parked_from)s::bigint[]) p(stream, first)
        where p.stream = e.stream and p.first <= e.position)"""
_NOT_PARKED = f"(cardinality(%(parked)s::text[]) = 0 or {_BELOW_LETTERS})"
_NOT_IN_LETTERS = """not exists (select from {s}.dead_letters d
        where d.parked_by = 'relay' and d.stream = e.stream and d.position <= e.position)"""


class Parked(msgspec.Struct, frozen=True):
    """The relay's parked streams, the first thousand or all, each with the position of its first parked event."""

    streams: dict[str, int] = {}
    redrives: int = 0  # changes when an operator has removed letters of the relay
    sends: bool = True  # false: Debezium sends the events (`eventkit.storage.debezium`)

    @property
    def more(self) -> bool:
        """Whether there are more than `streams` has: a row has to be looked up among the letters."""
        return len(self.streams) > _PARKED_IN_MEMORY

    def params(self) -> dict[str, str]:
        """Return the parameters of `not_parked`."""
        return {"parked": text_array(self.streams), "parked_from": plain_array(self.streams.values())}


class RelayParking:
    """Parks streams of some parts, on the connection of their settlement and under its leases."""

    def __init__(self, settlement: Settlement) -> None:
        self._settlement = settlement
        self._park = settlement.fenced(_PARK)
        self._rarely = Rarely(logger)

    def park(self, position: int, error: str) -> None:
        """Park an event that the transport refuses, and with it the rest of its stream; the rows stay in the outbox.

        Raise Deposed when another relay has the lease.
        """
        params = {"positions": plain_array([position]), "error": error}
        stream, version, event_id, event_type = self._settlement.write(self._park, params)
        if stream is not None:  # else it was parked before
            self._rarely.error(
                "parked stream %s from version %s on: the broker refuses event %s (%s, position %d): %s",
                *(stream, version, event_id, event_type, position, error),
                kind="parked",
                fields=self._fields(stream, version, event_id),
            )

    def _fields(self, stream: str, version: int, event_id: object) -> LogFields:
        fields: LogFields = {
            "stream": stream, "version": version, "event_id": str(event_id), "error_type": "refused"
        }  # fmt: skip
        epochs = list(self._settlement.parts.leases().values())
        return {**fields, "epoch": epochs[0]} if len(epochs) == 1 else fields


def read_parked(cursor: psycopg.Cursor[Any], schema: str) -> Parked:
    """Return the parked streams; it reads about a thousand at most."""
    with database_errors():
        streams = dict(cursor.execute(in_schema(_PARKED, schema)).fetchall())
        redrives, sends = cursor.execute(in_schema(_STATE, schema)).fetchone() or (0, True)
    return Parked(streams, redrives, sends)


def not_parked(parked: Parked) -> str:
    """Return the condition for the events of no parked stream, and those below their stream's first parked event.

    It has many parked streams as a literal: only a constant array is hashed.
    """
    if parked.more:
        return _NOT_IN_LETTERS
    if len(parked.streams) <= _PARKED_AS_PARAMETER:
        return _NOT_PARKED
    return f"(e.stream <> all({literal(text_array(parked.streams))}::text[]) or {_BELOW_LETTERS})"
