"""Publishes in order: transactions of some hundred persistent messages, one after the other, each with a receipt.

The broker ends the connection at the first frame that it refuses, so nothing passes what was refused. A message has
two headers of ours: `eventkit-key`, and `eventkit-headers`, a JSON object.
"""

import time
from collections.abc import Sequence

import msgspec

from eventkit.domain.message import Message
from eventkit.errors import TopicUnusable, TransportError
from eventkit.transports.activemq.address import Address
from eventkit.transports.activemq.connection import Connection, connected
from eventkit.transports.activemq.registry import Registry, topic_of
from eventkit.transports.base import Reports
from eventkit.transports.partition import partition_of

KEY, HEADERS = "eventkit-key", "eventkit-headers"
_BATCH = 500  # messages to a transaction
_BATCH_BYTES = 2_000_000
_LARGE = 64_000  # bytes: such a message asks for a receipt of its own, so that a refused one can be named


class ActivePublisher:
    """See `Publisher`: `send` waits for the receipts, `reports` tells them."""

    def __init__(self, address: Address, registry: Registry, *, to_listeners: bool = False) -> None:
        self._address = address
        self._needs_group = not to_listeners
        self._registry = registry
        self._connection: Connection | None = None
        self._shards: dict[str, int] = {}
        self._number = 0
        self._verdict = Reports()

    def send(self, messages: Sequence[Message]) -> None:
        """Send all, up to the first that fails."""
        batch: list[Message] = []
        size = 0
        for message in messages:
            if self._verdict.failed or not self._may_go(message.topic):
                break
            batch.append(message)
            size += len(message.value)
            if len(batch) == _BATCH or size > _BATCH_BYTES:
                self._transact(batch)
                batch, size = [], 0
        if batch and not (self._verdict.lost or self._verdict.refused):
            self._transact(batch)

    def reports(self, timeout: float) -> Reports:
        """Return what became of what was sent: it is known by now."""
        if not (self._verdict.confirmed or self._verdict.failed):
            time.sleep(timeout)
        verdict = self._verdict
        self._verdict = Reports([], verdict.refused, verdict.held, verdict.lost)
        return verdict

    def abandon(self) -> Reports:
        """Return the last word."""
        return self.close(0)

    def close(self, timeout: float) -> Reports:  # noqa: ARG002 nothing is queued
        """Return the last reports and let go of the connection."""
        if self._connection:
            self._connection.close()
        return self.reports(0)

    def _may_go(self, topic: str) -> bool:
        if topic not in self._shards:
            try:
                self._connection = self._connection or Connection(self._address)
                self._shards[topic] = self._registry.prepare(topic, needs_group=self._needs_group)
            except TopicUnusable as error:
                self._verdict.held.update(error.reasons)
            except TransportError as error:
                self._verdict.lost = str(error)
        return topic in self._shards

    def _transact(self, batch: list[Message]) -> None:
        connection = self._connection
        if connection is None:
            return
        self._number += 1
        large: dict[str, Message] = {}  # by receipt, in order
        try:
            connection.send("BEGIN", {"transaction": str(self._number)})
            for message in batch:
                receipt = self._send(connection, message)
                if receipt:
                    large[receipt] = message
            connection.wait(connection.send("COMMIT", {"transaction": str(self._number)}, receipt=True))
        except TransportError as error:
            culprit = next((each for receipt, each in large.items() if not connection.has(receipt)), None)
            refusal = self._refusal(culprit) if culprit else None
            if culprit and refusal:
                self._verdict.refused[culprit.tag] = refusal
            else:
                self._verdict.lost = connection.end or str(error)
        else:
            self._verdict.confirmed += [each.tag for each in batch]

    def _refusal(self, message: Message) -> str | None:
        size = len(_bytes(message.value))
        try:
            with connected(self._address) as connection:
                refusal = connection.refusal_of(size)
        except TransportError:
            return None
        return refusal and f"{size:,} bytes are too many: {refusal}"

    def _send(self, connection: Connection, message: Message) -> str:
        value = _bytes(message.value)
        headers = {
            "destination": topic_of(message.topic, partition_of(message.key, self._shards[message.topic])),
            "transaction": str(self._number),
            "persistent": "true",
            "content-length": str(len(value)),
            KEY: message.key,
            HEADERS: _text(message),
        }
        return connection.send("SEND", headers, value, receipt=len(value) > _LARGE)


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _text(message: Message) -> str:
    headers = {name: value if isinstance(value, str) else value.decode() for name, value in message.headers}
    return _encode(headers).decode()


_encode = msgspec.json.Encoder().encode
