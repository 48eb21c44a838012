"""eventkit itself: `eventkit relay run` with its defaults, and `EventStore.append` on a psycopg connection.

Twice: with its seven headers, and in structured mode, which sends as many headers as Debezium does: one.
"""

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import psycopg

from benchmarks.backlog import Backlog
from benchmarks.openloop import STREAMS
from benchmarks.peers.carrier import Carrier, Place, ProcessCarrier
from benchmarks.peers.contestant import Insert, Inserter
from benchmarks.way import NOTE
from eventkit import Catalog, EventStore

_SIZE = 200


@dataclass(frozen=True)
class OrderPlaced:
    customer: str
    total: str
    note: str


class EventkitOutbox:
    """The rows that `append` writes."""

    def fill(self, place: Place, numbers: range) -> None:
        backlog = Backlog(place.database_url, events=len(numbers), streams=STREAMS, size=_SIZE, topic=place.topic)
        backlog.fill()
        backlog.close()

    def inserter(self, place: Place) -> Inserter:
        return partial(_appender, place.topic)


class Eventkit:
    """Ours."""

    name = "eventkit"
    title = f"eventkit {version('eventkit-outbox')}"
    settings = "`eventkit relay run`, defaults"
    format = "binary"
    outbox = EventkitOutbox()

    def prepare(self) -> None:
        """Nothing: it is here."""

    def carrier(self, place: Place) -> AbstractContextManager[Carrier]:
        environment = {
            "EVENTKIT_DATABASE_URL": place.database_url,
            "EVENTKIT_TRANSPORT_URL": f"kafka://{place.bootstrap}",
            "EVENTKIT_TRANSPORT_OPTION_format": self.format,
        }
        command = [sys.executable, "-m", "eventkit.cli", "relay", "run"]
        return ProcessCarrier(place, command, table="eventkit.outbox", environment=environment)


class StructuredEventkit(Eventkit):
    """The same with one header: the attributes are in the value."""

    name = "eventkit_structured"
    title = f"{Eventkit.title}, structured"
    settings = "`eventkit relay run` with the transport's option format=structured"
    format = "structured"


def _appender(topic: str) -> Insert:
    catalog = Catalog("bench", topics={"order": topic})
    catalog.event(OrderPlaced)
    store = EventStore(catalog)

    def append(connection: psycopg.Connection[Any], number: int) -> None:
        event = OrderPlaced(f"number-{number}-", "12.50", NOTE)
        store.append(connection, catalog.stream("order", str(number % STREAMS)), event)

    return append
