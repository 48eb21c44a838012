"""The peer of the rebuild: eventsourcing's ProjectionRunner on PostgreSQL, as its documentation shows it.

`python -m benchmarks.peer_projection URL EVENTS`: records orders in its event store, then lets a projection that was
never run catch up, and prints the events per second of that alone. Each event is one transaction of its view.
"""

import sys
import time
from typing import Any
from uuid import uuid4

import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner

STREAMS = 100


class Ordered(DomainEvent):
    customer: str
    amount: int


class Shop(Application[Any]):
    pass


class Totals(PostgresTrackingRecorder):
    """The read model: orders and amount by customer."""

    def __init__(self, datastore: PostgresDatastore, **words: Any) -> None:  # noqa: ANN401 its signature
        super().__init__(datastore, **words)
        self.sql_create_statements.append(
            psycopg.sql.SQL(
                "create table if not exists {} (customer text primary key, orders int not null, amount bigint not null)"
            ).format(psycopg.sql.Identifier("peer_totals"))
        )

    def add(self, customer: str, amount: int, tracking: Tracking) -> None:
        """Add an order, and remember its place, in one transaction."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "insert into peer_totals values (%s, 1, %s) on conflict (customer) do update "
                "set orders = peer_totals.orders + 1, amount = peer_totals.amount + excluded.amount",
                (customer, amount),
            )


class Adding(Projection[Totals]):
    name = "totals"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:  # noqa: ANN401 its signature
        self.view.add(domain_event.customer, domain_event.amount, tracking)


def environment(url: str) -> dict[str, str]:
    """Return the settings of its PostgreSQL module."""
    of = psycopg.conninfo.conninfo_to_dict(url)
    names = {"DBNAME": "dbname", "HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        **{f"POSTGRES_{name}": str(of.get(part, "")) for name, part in names.items()},
    }


def main(url: str, events: str) -> None:
    """Record, catch up, and print the rate."""
    application = Shop(environment(url))
    at = Ordered.create_timestamp()
    streams = [uuid4() for _ in range(STREAMS)]
    for number in range(int(events)):
        stream, version = streams[number % STREAMS], number // STREAMS + 1
        application.events.put([Ordered(stream, version, at, f"customer-{number % 977}", number)])  # type: ignore[call-arg]
    started = time.monotonic()
    runner = ProjectionRunner(application_class=Shop, projection_class=Adding, view_class=Totals, env=environment(url))
    with runner:
        runner.wait(application.recorder.max_notification_id(), timeout=600)
        print(int(events) / (time.monotonic() - started))
    application.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
