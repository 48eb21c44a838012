"""Finds the place of a subscription that begins with the next event: everything committed before is left out.

A transaction that is open now may have drawn a position below the highest visible one, and its events are still to
come. Such transactions mostly end within milliseconds, so they are waited for first. Where one stays open, the visible
positions above the first missing one are returned: events at these positions are no news.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from eventkit.storage.db import database_errors, in_schema
from eventkit.storage.outbox import read_horizon

WAITS, WAIT = 20, 0.005  # times, and seconds of each
WINDOW = 100_000  # positions below the highest one in which an open transaction's events are found

_VISIBLE = """select min(position), max(position) from (
  select position, position - row_number() over (order by position) as run from {s}.events
   where position > (select max(position) from {s}.events) - %s) e
 group by run order by 1"""


class Beginning(NamedTuple):
    """The position up to which everything was committed before, and ranges above it that were."""

    floor: int
    ranges: Sequence[tuple[int, int]] = ()


def beginning_now(connection: psycopg.Connection[Any], schema: str) -> Beginning:
    """Return the place from which all events are still to come, over an autocommit connection."""
    horizon = read_horizon(connection, schema)
    owners = horizon.holders
    for _ in range(WAITS):
        if not owners:
            return Beginning(horizon.position)
        time.sleep(WAIT)
        owners &= read_horizon(connection, schema).holders
    with database_errors():
        ranges = connection.execute(in_schema(_VISIBLE, schema), (WINDOW,)).fetchall()
    return Beginning(ranges[0][1], ranges[1:]) if ranges else Beginning(0)
