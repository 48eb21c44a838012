"""The memory of a relay belongs to one server: another hands the same positions out to other events."""

import threading
import uuid

import psycopg

from eventkit.relay import Relay
from eventkit.storage.db.connection import connect
from eventkit.storage.outbox.outbox import READING
from eventkit.transports import open_transport
from eventkit.worker import Stop
from tests.faults.shop import TOPIC, note
from tests.waiting import wait_until


def test_settlements_owed_to_another_server_are_not_made_here(database_url: str) -> None:
    """After a failover a position that was acknowledged belongs to an event that nobody has sent: it is sent."""
    with psycopg.connect(database_url) as writer:
        position = note(writer, 1).position
    transport = open_transport(f"local://{uuid.uuid4().hex}")
    transport.create_topics([TOPIC], partitions=1)
    arrived = transport.subscribe([TOPIC], "checker")
    stop = Stop()
    relay = Relay(
        lambda name: connect(database_url, name=name, autocommit=True, options=READING),
        transport,
        schema="eventkit",
        owner="test",
    )
    relay._owed, relay._server = {position}, "the one that failed"

    running = threading.Thread(target=relay.run, args=(stop,))
    running.start()
    try:
        messages = wait_until(lambda: arrived.receive(10, 0.1), what="the event")
    finally:
        stop.set()
        running.join()
        transport.close()

    assert [message.key for message in messages] == ["order-1"]
