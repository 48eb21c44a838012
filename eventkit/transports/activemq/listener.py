"""A reader of its own: plain subscriptions to the topics of all shards, of which the broker keeps nothing.

What was received is acknowledged at once, so that the broker sends no more than the prefetch ahead of a slow reader,
which reads no more from its connection while it holds what a `Buffer` holds.
"""

import threading
from collections.abc import Mapping, Sequence

from eventkit.domain.message import Message
from eventkit.errors import TransportUnavailable
from eventkit.transports.activemq.address import ActiveAddress
from eventkit.transports.activemq.connection import Connection, Frame
from eventkit.transports.activemq.registry import topic_of
from eventkit.transports.activemq.subscription import message_of
from eventkit.transports.base import Mark
from eventkit.transports.buffer import Buffer


class ActiveListener:
    """See `Transport.listen`."""

    is_new = False
    ready = True

    def __init__(self, address: ActiveAddress, shards: Mapping[str, int]) -> None:
        self._places = [(topic, shard) for topic, count in shards.items() for shard in range(count)]
        self._arrived = Buffer()
        self._closing = False
        self._changed = threading.Condition()  # over what has arrived
        self._connection = Connection(address, arrived=self._arrive)
        receipts = [self._subscribe(number, address.prefetch) for number in range(len(self._places))]
        for receipt in receipts:
            self._connection.wait(receipt)

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return what is there, as soon as there is something."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrived or self._connection.end, timeout)
            if self._connection.end and not self._arrived:
                raise TransportUnavailable(self._connection.end)
            found = self._arrived.take(limit)
            self._changed.notify_all()  # there is room again
        for ack in dict(message.tag for message in found).values():  # the last of each subscription covers the others
            self._connection.send("ACK", {"id": ack})
        return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Do nothing: nobody reads on from here."""

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return none."""
        del messages
        return []

    def close(self) -> None:
        """End the subscriptions."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._connection.close()

    def _subscribe(self, number: int, prefetch: int) -> str:
        headers = {
            "id": str(number),
            "destination": topic_of(*self._places[number]),
            "ack": "client",
            "activemq.prefetchSize": str(prefetch),
        }
        return self._connection.send("SUBSCRIBE", headers, receipt=True)

    # --- on the client's thread

    def _arrive(self, frame: Frame) -> None:
        subscription = frame.headers["subscription"]
        topic, _ = self._places[int(subscription)]
        with self._changed:
            self._arrived.add(message_of(topic, frame, (subscription, frame.headers["ack"])))
            self._changed.notify_all()
            self._connection.hold(self._changed, lambda: not self._arrived.is_full or self._closing)
