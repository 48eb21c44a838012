"""A process that reads the whole topic along while the demo runs and hands each delivery to the checker.

Along, because the embedded broker keeps only the last megabytes of a partition.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import TYPE_CHECKING

from eventkit.domain.message import event_of
from eventkit.storage.db.connection import connect
from eventkit.transports.base import Subscription, open_transport
from examples.flights import lifeline
from examples.flights.checker import Checker, Findings, committed_events

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

QUIET = 0.5  # seconds without a message, after which the topic counts as read to its end


@dataclass(frozen=True)
class Place:
    """The topic to read, and the database to compare it with."""

    transport_url: str
    transport_options: Mapping[str, str]
    topic: str
    group: str
    database_url: str
    schema: str


@dataclass(frozen=True)
class Wires:
    """The reader's connections to the rest of the demo."""

    stop: Event  # nothing more will be published
    distinct: "Synchronized[int]"
    findings: Connection


def follow(place: Place, wires: Wires) -> None:
    """Be the reader process: read until stopped and to the end, then send the findings."""
    lifeline.hold()
    checker = Checker()
    with (
        closing(open_transport(place.transport_url, place.transport_options)) as transport,
        closing(transport.subscribe([place.topic], place.group)) as subscription,
    ):
        _read(subscription, checker, wires)
    wires.findings.send(_compare(checker, place))


def _read(subscription: Subscription, checker: Checker, wires: Wires) -> None:
    at_end = False
    while not (at_end and wires.stop.is_set()):
        last_word = wires.stop.is_set()  # asked before the wait: an event published until then arrives within it
        messages = subscription.receive(5000, QUIET)
        for message in messages:
            checker.delivered(event_of(message))
        if messages:
            subscription.acknowledge(messages)
        wires.distinct.value = checker.distinct
        at_end = last_word and not messages


def _compare(checker: Checker, place: Place) -> Findings:
    with connect(place.database_url, name="flights checker", schema=place.schema) as connection:
        return checker.compare(committed_events(connection, place.schema))
