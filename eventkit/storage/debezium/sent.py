"""Whether Debezium has sent the events that left no outbox row: pruning and archiving ask before they delete.

Connect confirms a place in the WAL when Kafka has acknowledged everything before it. So all events that were committed
before a moment are sent when Connect has passed the WAL's end of that moment.
"""

import time
from typing import Any

import psycopg

from eventkit.storage.debezium.mode import Mode, read_mode, slot_name
from eventkit.storage.debezium.slot import Replication

_CONFIRM_WAIT = 10.0  # seconds; a Connect that keeps up confirms once a second
_INTERVAL = 0.1


def unsent_by_debezium(
    connection: psycopg.Connection[Any], schema: str, *, patience: float = _CONFIRM_WAIT
) -> str | None:
    """Return why events without an outbox row may be unsent; None where all that are committed now are sent."""
    if read_mode(connection, schema) not in (Mode.TO_RELAY, Mode.DEBEZIUM):
        return None  # the relay sends everything, and an event without an outbox row is sent
    replication = Replication(connection, schema, slot_name(connection, schema))
    place, deadline = replication.here(), time.monotonic() + patience
    while True:
        slot = replication.look()
        if slot is None or slot.is_lost:
            return f"the replication slot {replication.name} is gone, and nobody knows what Debezium has sent"
        if replication.has_passed(slot, place):
            return None
        if slot.reader is None:
            return f"nobody reads the replication slot {replication.name}, so Debezium has not sent all events"
        if time.monotonic() > deadline:
            return f"Connect has {slot.behind:,} bytes of the WAL to read and send"
        time.sleep(_INTERVAL)
