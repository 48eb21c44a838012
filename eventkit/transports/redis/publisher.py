"""Publishes in order: transactions of some hundred XADDs, one after the other, each confirmed by its answer.

Redis refuses a whole transaction before it executes it (out of memory, no right, a read-only server), so no message
passes a refused one. An entry has three fields: `key`, `value`, and `headers`, a JSON object.
"""

import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoPermissionError, OutOfMemoryError, RedisError, ResponseError

from eventkit.domain.message import Message
from eventkit.transports.base import Reports
from eventkit.transports.json_headers import headers_as_json, value_as_bytes
from eventkit.transports.partition import ShardNames
from eventkit.transports.redis.address import RedisAddress
from eventkit.transports.redis.settings import largest_value
from eventkit.transports.redis.topics import MISSING, shards_of, stream_key

_BATCH = 500  # messages to a transaction
_BATCH_BYTES = 2_000_000
_GONE = "its stream was deleted while messages were sent to it: create it again with `eventkit topics create`"


class RedisPublisher:
    """See `Publisher`: `send` waits for the answers, and `reports` returns them."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._client = address.client()
        self._shards: dict[str, int] = {}
        self._streams = ShardNames(stream_key)
        self._largest = 0
        self._results = Reports()

    def send(self, messages: Sequence[Message]) -> None:
        """Send messages up to the first that fails."""
        try:
            batch: list[Message] = []
            size = 0
            for message in messages:
                if self._results.failed or not self._can_send(message):
                    break
                batch.append(message)
                size += len(message.value)
                if len(batch) == _BATCH or size > _BATCH_BYTES:
                    self._transact(batch)
                    batch, size = [], 0
            if batch and not self._results.lost:  # the messages before a refused one are sent
                self._transact(batch)
        except RedisError as error:
            self._results.lost = f"Redis at {self._address.hosts}: {self._address.safe(error)}"

    def reports(self, timeout: float) -> Reports:
        """Return the results of the sent messages, which are already known."""
        if not (self._results.confirmed or self._results.failed):
            time.sleep(timeout)
        results, self._results = self._results, self._results.failures()
        return results

    def abandon(self) -> Reports:
        """Close at once and return the last results."""
        return self.close(0)

    def close(self, timeout: float) -> Reports:  # noqa: ARG002 nothing is queued
        """Close the connection and return the last results."""
        self._client.close()
        return self.reports(0)

    def _can_send(self, message: Message) -> bool:
        largest = self._largest = self._largest or largest_value(self._client)
        topic = message.topic
        if topic not in self._shards:
            self._shards[topic] = shards_of(self._client, topic)
        if not self._shards[topic]:
            self._results.held[topic] = MISSING
        elif len(message.value) * 3 > largest and len(value_as_bytes(message)) > largest:
            self._results.refused[message.tag] = (
                f"{len(value_as_bytes(message)):,} bytes are more than the {largest:,} of Redis's proto-max-bulk-len"
            )
        return not self._results.failed

    def _transact(self, batch: list[Message]) -> None:
        pipeline = self._client.pipeline(transaction=True)
        for message in batch:
            pipeline.execute_command(  # type: ignore[no-untyped-call]
                "XADD", self._streams.of(message.topic, message.key, self._shards[message.topic]), "NOMKSTREAM", "*",
                "key", message.key, "value", message.value, "headers", headers_as_json(message),
            )  # fmt: skip
        try:
            answers: list[Any] = pipeline.execute()
        except OutOfMemoryError:
            if len(batch) == 1:
                raise
            half = len(batch) // 2  # fewer messages may fit, and once they are read there is room again
            self._transact(batch[:half])
            self._transact(batch[half:])
        except NoPermissionError as error:
            self._hold(batch, f"this user may not write to it: {self._address.safe(error)}")
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            self._hold(batch, "its key in Redis is no stream")
        else:
            self._results.confirmed += [
                each.tag for each, answer in zip(batch, answers, strict=True) if answer is not None
            ]
            gone = [each for each, answer in zip(batch, answers, strict=True) if answer is None]
            self._hold(gone, _GONE)

    def _hold(self, messages: Sequence[Message], reason: str) -> None:
        self._results.held.update({message.topic: reason for message in messages})
