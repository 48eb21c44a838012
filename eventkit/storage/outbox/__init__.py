"""The outbox as the relay reads it: in order, without a gap lost, under a lease."""

from eventkit.storage.outbox.event_log import EventLog
from eventkit.storage.outbox.gap_reader import GapReader, Horizon, Row
from eventkit.storage.outbox.gaps import Holders, missing
from eventkit.storage.outbox.leases import Lease, LeaseState, lease_states
from eventkit.storage.outbox.outbox import (
    AMENDED,
    AS_TEXT,
    NEARLY_BYTES,
    OTHERS,
    READING,
    Outbox,
    Scope,
    Settlement,
    encoded,
    message,
    read_horizon,
    split_holders,
)

__all__ = [
    "AMENDED",
    "AS_TEXT",
    "NEARLY_BYTES",
    "OTHERS",
    "READING",
    "EventLog",
    "GapReader",
    "Holders",
    "Horizon",
    "Lease",
    "LeaseState",
    "Outbox",
    "Row",
    "Scope",
    "Settlement",
    "encoded",
    "lease_states",
    "message",
    "missing",
    "read_horizon",
    "split_holders",
]
