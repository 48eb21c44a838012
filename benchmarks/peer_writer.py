"""The peer that is compared: the Python library eventsourcing, in its default mode, by its leanest documented way.

`Application.events.put`: no aggregate is loaded, the writer counts the versions of streams that are its own. One table,
an exclusive lock on it and a NOTIFY in each transaction: that is its default on PostgreSQL.
"""

from collections import Counter
from contextlib import ExitStack
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent

from benchmarks.way import NOTE, Way


class OrderPlaced(DomainEvent):
    customer: str
    total: str
    note: str


def create_tables(url: str) -> None:
    """Create its tables, once: many at a time get into each other's way."""
    with ExitStack() as open_:
        _application(url, open_, create_table="yes")


def eventsourcing(url: str, open_: ExitStack) -> Way:
    """Put events into its event store."""
    events = _application(url, open_, create_table="no").events
    versions, salt = Counter[UUID](), uuid4()

    def append(key: str, count: int) -> None:
        stream = uuid5(NAMESPACE_OID, f"{salt}{key}")
        first = versions[stream] + 1
        versions[stream] += count
        at = OrderPlaced.create_timestamp()
        events.put(
            [
                OrderPlaced(stream, first + number, at, f"customer-{number}", "12.50", NOTE)  # type: ignore[call-arg]
                for number in range(count)
            ]
        )

    return append


def _application(url: str, open_: ExitStack, *, create_table: str) -> Application[UUID]:
    of = psycopg.conninfo.conninfo_to_dict(url)
    application = Application[UUID](
        {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "CREATE_TABLE": create_table,
            "POSTGRES_DBNAME": str(of.get("dbname", "")),
            "POSTGRES_HOST": str(of.get("host", "")),
            "POSTGRES_PORT": str(of.get("port", "")),
            "POSTGRES_USER": str(of.get("user", "")),
            "POSTGRES_PASSWORD": str(of.get("password", "")),
        }
    )
    open_.callback(application.close)
    return application
