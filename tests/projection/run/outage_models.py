"""Handlers for processes of their own: a file stands for an outage of the service they call, another for a bug in them.

The folder of the files is OUTAGE_FOLDER; each call is a line of `calls` in it.
"""

import os
from pathlib import Path

import sqlalchemy as sa

from eventkit.messaging.handlers import Handlers
from eventkit.projection.retry_policy import Backoff, Retry
from tests.projection.shop import Ordered, shop

FOLDER = Path(os.environ.get("OUTAGE_FOLDER", "."))
QUICK = Backoff(first=0.3, factor=1, most=0.3)

work = Handlers("work", shop, categories=["order"], batch=1)


@work.on(Ordered, retry=Retry(attempts=4, backoff=QUICK, probes=QUICK), timeout=90)
def ordered(connection: sa.Connection, event: Ordered) -> None:
    """Call something."""
    with (FOLDER / "calls").open("a") as calls:
        calls.write(f"{event.customer}\n")
    if (FOLDER / "away").exists():
        raise ConnectionRefusedError(f"nobody answers {event.customer}")
    if (FOLDER / "bug").exists() and event.customer == "eve":
        raise ValueError(f"{event.customer} is too much")
    add = "insert into totals values (%s, 1, 1) on conflict (customer) do update set orders = totals.orders + 1"
    connection.exec_driver_sql(add, (event.customer,))
