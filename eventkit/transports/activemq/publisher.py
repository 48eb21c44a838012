"""Publishes in order: transactions of some hundred persistent messages, committed one after the other's receipt.

The broker ends the connection at the first frame that it refuses, so nothing passes what was refused. A message has
two headers of ours: `eventkit-key`, and `eventkit-headers`, a JSON object.
"""

import time
from collections.abc import Sequence

import msgspec

from eventkit.domain.message import Message
from eventkit.errors import TopicUnusable, TransportError
from eventkit.transports.activemq.address import ActiveAddress
from eventkit.transports.activemq.connection import ANSWER, Connection, connected
from eventkit.transports.activemq.frames import frame
from eventkit.transports.activemq.registry import Registry, topic_of
from eventkit.transports.base import Reports
from eventkit.transports.json_headers import headers_as_json, value_as_bytes
from eventkit.transports.partition import partition_of

KEY, HEADERS = "eventkit-key", "eventkit-headers"
_BATCH = 500  # messages to a transaction
_BATCH_BYTES = 2_000_000
_KEYS = 200_000  # keys whose destination is remembered
_LARGE = 64_000  # bytes: such a message asks for a receipt of its own, so that a refused one can be named


class Transaction(msgspec.Struct):
    """Messages that are at the broker, and come to be there for good together."""

    messages: list[Message]
    number: str
    large: dict[str, Message] = msgspec.field(default_factory=dict)  # by the receipts they ask for, in order
    receipt: str = ""  # of its commit
    sent: float = 0.0


class ActivePublisher:
    """See `Publisher`: one transaction is on its way to be confirmed while the next is sent and not yet committed."""

    def __init__(self, address: ActiveAddress, registry: Registry, *, to_listeners: bool = False) -> None:
        self._address = address
        self._needs_group = not to_listeners
        self._registry = registry
        self._connection: Connection | None = None
        self._shards: dict[str, int] = {}
        self._destinations: dict[tuple[str, str], str] = {}
        self._number = 0
        self._under_way: Transaction | None = None
        self._results = Reports()

    def send(self, messages: Sequence[Message]) -> None:
        """Send all, up to the first that fails."""
        batch: list[Message] = []
        size = 0
        for message in messages:
            if self._results.failed or not self._may_go(message.topic):
                break
            batch.append(message)
            size += len(message.value)
            if len(batch) == _BATCH or size > _BATCH_BYTES:
                self._transact(batch)
                batch, size = [], 0
        if batch and not (self._results.lost or self._results.refused):
            self._transact(batch)

    def reports(self, timeout: float) -> Reports:
        """Return what is known since the last call."""
        if self._under_way:
            self._land(0 if self._results.confirmed or self._results.failed else timeout)
        elif not (self._results.confirmed or self._results.failed):
            time.sleep(timeout)
        results, self._results = self._results, self._results.failures()
        return results

    def abandon(self) -> Reports:
        """Return the last word."""
        return self.close(0)

    def close(self, timeout: float) -> Reports:
        """Wait for what is under way and let go of the connection."""
        self._land(timeout)
        if self._connection:
            self._connection.close()
        return self.reports(0)

    def _may_go(self, topic: str) -> bool:
        if topic not in self._shards:
            try:
                self._connection = self._connection or Connection(self._address)
                self._shards[topic] = self._registry.prepare(topic, needs_group=self._needs_group)
            except TopicUnusable as error:
                self._results.held.update(error.reasons)
            except TransportError as error:
                self._results.lost = str(error)
        return topic in self._shards

    def _transact(self, batch: list[Message]) -> None:
        """Send a transaction; commit it when the one before is confirmed, for nothing passes what was refused."""
        connection = self._connection
        if connection is None:
            return
        self._number += 1
        transaction = Transaction(batch, str(self._number))
        frames = self._frames(connection, transaction)
        if transaction.large:  # where it is refused, the answer to what came before may be lost with it
            self._land(ANSWER)
        try:
            connection.write(frames)
            self._land(ANSWER)
            if not self._results.failed:
                named = {"transaction": transaction.number}
                transaction.receipt = connection.send("COMMIT", named, receipt=True)
                transaction.sent = time.monotonic()
                self._under_way = transaction
        except TransportError as error:
            self._judge(connection, transaction, error)

    def _land(self, timeout: float) -> None:
        """Take note of what became of the transaction that is under way, if it is known in time."""
        transaction, connection = self._under_way, self._connection
        if transaction is None or connection is None:
            return
        try:
            if connection.has(transaction.receipt, timeout):
                self._under_way = None
                self._results.confirmed += [each.tag for each in transaction.messages]
                connection.forget([transaction.receipt, *transaction.large])
            elif time.monotonic() - transaction.sent >= ANSWER:
                self._under_way = None
                self._results.lost = f"no answer from ActiveMQ at {self._address.hosts} in {ANSWER:g} s"
        except TransportError as error:
            self._under_way = None
            self._judge(connection, transaction, error)

    def _judge(self, connection: Connection, transaction: Transaction, error: TransportError) -> None:
        receipt = connection.missing(transaction.large)
        culprit = transaction.large[receipt] if receipt else None
        refusal = self._refusal(culprit) if culprit else None
        if culprit and refusal:
            self._results.refused[culprit.tag] = refusal
        else:
            self._results.lost = self._results.lost or connection.end or str(error)

    def _refusal(self, message: Message) -> str | None:
        size = len(value_as_bytes(message))
        try:
            with connected(self._address) as connection:
                refusal = connection.refusal_of(size)
        except TransportError:
            return None
        return refusal and f"{size:,} bytes are too many: {refusal}"

    def _frames(self, connection: Connection, transaction: Transaction) -> list[bytes]:
        frames = [frame("BEGIN", {"transaction": transaction.number})]
        for message in transaction.messages:
            value = value_as_bytes(message)
            headers = {
                "destination": self._destination(message),
                "transaction": transaction.number,
                "persistent": "true",
                "content-length": str(len(value)),
                KEY: message.key,
                HEADERS: headers_as_json(message).decode(),
            }
            if len(value) > _LARGE:
                receipt = headers["receipt"] = connection.next_receipt()
                transaction.large[receipt] = message
            frames.append(frame("SEND", headers, value))
        return frames

    def _destination(self, message: Message) -> str:
        place = message.topic, message.key
        destination = self._destinations.get(place)
        if destination is None:
            if len(self._destinations) >= _KEYS:
                self._destinations.clear()
            shard = partition_of(message.key, self._shards[message.topic])
            destination = self._destinations[place] = topic_of(message.topic, shard)
        return destination
