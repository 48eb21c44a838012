"""Publishes in order: transactions of some hundred persistent messages, each committed after the receipt of the last.

The broker ends the connection at the first frame that it refuses, so no later message passes a refused one. A message
has two added headers: `eventkit-key`, and `eventkit-headers`, a JSON object, which continues in `eventkit-headers-2`.
"""

import time
from collections.abc import Sequence

import msgspec

from eventkit.domain.message import Message
from eventkit.errors import TopicUnusable, TransportError
from eventkit.transports.activemq.address import ActiveAddress
from eventkit.transports.activemq.connection import RECEIPT_TIMEOUT, Connection, connected
from eventkit.transports.activemq.frames import frame, split
from eventkit.transports.activemq.registry import Registry, topic_of
from eventkit.transports.base import Reports
from eventkit.transports.json_headers import headers_as_json, value_as_bytes
from eventkit.transports.partition import ShardNames

KEY, HEADERS = "eventkit-key", "eventkit-headers"
_BATCH = 500  # messages to a transaction
_BATCH_BYTES = 2_000_000
_LARGE = 64_000  # bytes: a larger message asks for its own receipt, which identifies it if it is refused


class Transaction(msgspec.Struct):
    """Messages that the broker commits together."""

    messages: list[Message]
    number: str
    large: dict[str, Message] = msgspec.field(default_factory=dict)  # by their receipts, in order
    receipt: str = ""  # of the commit
    sent: float = 0.0


class ActivePublisher:
    """See `Publisher`: it sends a transaction while it waits for the receipt of the commit before."""

    def __init__(self, address: ActiveAddress, registry: Registry, *, to_listeners: bool = False) -> None:
        self._address = address
        self._needs_group = not to_listeners
        self._registry = registry
        self._connection: Connection | None = None
        self._shards: dict[str, int] = {}
        self._destinations = ShardNames(topic_of)
        self._number = 0
        self._in_flight: Transaction | None = None
        self._results = Reports()

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages up to the first that fails."""
        batch: list[Message] = []
        size = 0
        for message in messages:
            if self._results.failed or not self._can_send(message.topic):
                break
            batch.append(message)
            size += len(message.value)
            if len(batch) == _BATCH or size > _BATCH_BYTES:
                self._transact(batch)
                batch, size = [], 0
        if batch and not (self._results.lost or self._results.refused):
            self._transact(batch)

    def reports(self, timeout: float) -> Reports:
        """Return the results since the last call; wait up to `timeout` seconds for the first one."""
        if self._in_flight:
            self._settle(0 if self._results.confirmed or self._results.failed else timeout)
        elif not (self._results.confirmed or self._results.failed):
            time.sleep(timeout)
        results, self._results = self._results, self._results.failures()
        return results

    def abandon(self) -> Reports:
        """Close at once and return the last results."""
        return self.close(0)

    def close(self, timeout: float) -> Reports:
        """Wait for the transaction in flight, then close the connection."""
        self._settle(timeout)
        if self._connection:
            self._connection.close()
        return self.reports(0)

    def _can_send(self, topic: str) -> bool:
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
        """Send a transaction, and commit it once the one before is confirmed: a failed one must stop the next."""
        connection = self._connection
        if connection is None:
            return
        self._number += 1
        transaction = Transaction(batch, str(self._number))
        frames = self._frames(connection, transaction)
        if transaction.large:  # its refusal could lose the receipt of the commit before
            self._settle(RECEIPT_TIMEOUT)
        try:
            connection.write(frames)
            self._settle(RECEIPT_TIMEOUT)
            if not self._results.failed:
                named = {"transaction": transaction.number}
                transaction.receipt = connection.send("COMMIT", named, receipt=True)
                transaction.sent = time.monotonic()
                self._in_flight = transaction
        except TransportError as error:
            self._classify(connection, transaction, error)

    def _settle(self, timeout: float) -> None:
        """Record the result of the transaction in flight, if it is known within `timeout` seconds."""
        transaction, connection = self._in_flight, self._connection
        if transaction is None or connection is None:
            return
        try:
            if connection.has(transaction.receipt, timeout):
                self._in_flight = None
                self._results.confirmed += [each.tag for each in transaction.messages]
                connection.forget([transaction.receipt, *transaction.large])
            elif time.monotonic() - transaction.sent >= RECEIPT_TIMEOUT:
                self._in_flight = None
                self._results.lost = f"no answer from ActiveMQ at {self._address.hosts} in {RECEIPT_TIMEOUT:g} s"
        except TransportError as error:
            self._in_flight = None
            self._classify(connection, transaction, error)

    def _classify(self, connection: Connection, transaction: Transaction, error: TransportError) -> None:
        receipt = connection.missing(transaction.large)
        refused = transaction.large[receipt] if receipt else None
        refusal = self._refusal(refused) if refused else None
        if refused and refusal:
            self._results.refused[refused.tag] = refusal
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
                "destination": self._destinations.of(message.topic, message.key, self._shards[message.topic]),
                "transaction": transaction.number,
                "persistent": "true",
                "content-length": str(len(value)),
                KEY: message.key,
                **split(HEADERS, headers_as_json(message).decode()),
            }
            if len(value) > _LARGE:
                receipt = headers["receipt"] = connection.next_receipt()
                transaction.large[receipt] = message
            frames.append(frame("SEND", headers, value))
        return frames
