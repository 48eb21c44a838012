"""The outbox as the relay reads it: in order, without a gap lost, under a lease."""

from eventkit.storage.outbox.event_log import EventLog
from eventkit.storage.outbox.gap_reader import GapReader, Horizon, Row
from eventkit.storage.outbox.gaps import Holders, missing
from eventkit.storage.outbox.leases import RENEWAL as LEASE_RENEWAL
from eventkit.storage.outbox.leases import SECONDS as LEASE_SECONDS
from eventkit.storage.outbox.leases import (
    Lease,
    LeaseState,
    LockHolder,
    awaited_leases,
    lease_states,
    lock_holders_of,
)
from eventkit.storage.outbox.outbox import (
    AMENDED,
    AS_TEXT,
    NEARLY_BYTES,
    OTHERS,
    READING,
    Outbox,
    Scope,
    encoded,
    message,
    read_horizon,
    received,
    split_holders,
)
from eventkit.storage.outbox.parking import RelayParking
from eventkit.storage.outbox.part_count import change_part_count, read_part_count
from eventkit.storage.outbox.part_leases import LeaseRow, PartLeases, Parts, Standing, lease_name, lease_rows
from eventkit.storage.outbox.settlement import Settlement

__all__ = [
    "AMENDED",
    "AS_TEXT",
    "LEASE_RENEWAL",
    "LEASE_SECONDS",
    "NEARLY_BYTES",
    "OTHERS",
    "READING",
    "EventLog",
    "GapReader",
    "Holders",
    "Horizon",
    "Lease",
    "LeaseRow",
    "LeaseState",
    "LockHolder",
    "Outbox",
    "PartLeases",
    "Parts",
    "RelayParking",
    "Row",
    "Scope",
    "Settlement",
    "Standing",
    "awaited_leases",
    "change_part_count",
    "encoded",
    "lease_name",
    "lease_rows",
    "lease_states",
    "lock_holders_of",
    "message",
    "missing",
    "read_horizon",
    "read_part_count",
    "received",
    "split_holders",
]
