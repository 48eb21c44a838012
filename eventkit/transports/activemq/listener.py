"""A reader without a group: plain subscriptions to the topics of all shards; the broker stores nothing for it.

Received messages are acknowledged at once, so that the broker sends no more than the prefetch ahead of a slow reader.
A reader with a full `Buffer` reads no more from its connection.
"""

import threading
from collections.abc import Mapping, Sequence

from eventkit.domain.message import Message
from eventkit.errors import TransportUnavailable
from eventkit.transports.activemq.address import ActiveAddress
from eventkit.transports.activemq.connection import Connection, Frame
from eventkit.transports.activemq.registry import topic_of
from eventkit.transports.activemq.subscription import message_of
from eventkit.transports.buffer import Buffer


class ActiveListener:
    """See `Transport.listen`."""

    is_new = False
    ready = True

    def __init__(self, address: ActiveAddress, shards: Mapping[str, int]) -> None:
        self._places = [(topic, shard) for topic, count in shards.items() for shard in range(count)]
        self._arrived = Buffer()
        self._closing = False
        self._changed = threading.Condition()  # guards `_arrived` and `_closing`
        self._connection = Connection(address, arrived=self._arrive)
        receipts = [self._subscribe(number, address.prefetch) for number in range(len(self._places))]
        for receipt in receipts:
            self._connection.wait(receipt)

    def receive(self, limit: int, timeout: float) -> list[Message]:
        """Return the messages that have arrived; wait for the first one."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrived or self._connection.end, timeout)
            if self._connection.end and not self._arrived:
                raise TransportUnavailable(self._connection.end)
            found = self._arrived.take(limit)
            self._changed.notify_all()  # the buffer has room again
        for ack in dict(message.tag for message in found).values():  # the last of a subscription covers the others
            self._connection.send("ACK", {"id": ack})
        return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Do nothing: no other reader resumes here."""

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
            self._connection.pause(self._changed, lambda: not self._arrived.is_full or self._closing)
