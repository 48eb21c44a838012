"""The registry of topics and groups: records in queues that are only browsed, two queues for each topic.

STOMP cannot list queues, and ActiveMQ creates a missing destination at its first use; so a topic exists once it has a
record. A queue that was empty when the broker stopped may be missing after its restart, so a publisher first makes sure
of the groups' queues (`prepare`).
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Self
from urllib.parse import quote

import msgspec

from eventkit.errors import TopicUnusable, TransportUnavailable
from eventkit.transports.activemq.address import ActiveAddress
from eventkit.transports.activemq.connection import Connection, Frame, connected
from eventkit.transports.base import Finding

MISSING = "ActiveMQ does not have it: create it with `eventkit topics create`"
NO_GROUP = "no group has subscribed to it, and ActiveMQ drops messages without a queue: start a projector"
_BROWSE_TIMEOUT = 10.0  # seconds
_END_CHECK_INTERVAL = 0.1  # seconds between two checks whether the connection has ended


class ClaimRecord(msgspec.Struct):
    """The owner of the relay that sends to a topic, in the queue of its claims; the first record counts."""

    owner: str


class TopicRecord(msgspec.Struct):
    """A topic, in the queue of its name."""

    partitions: int


class GroupRecord(msgspec.Struct):
    """A group, in the queue of its topic's groups."""

    group: str


def topic_of(topic: str, shard: int) -> str:
    """Return the destination of a shard's messages."""
    return f"/topic/VirtualTopic.{topic}.{shard}"


def queue_of(topic: str, shard: int, group: str) -> str:
    """Return a group's queue of a shard; the name is quoted, because the broker reads it up to the first dot."""
    return f"/queue/Consumer.{quote(group, safe='').replace('.', '%2E')}.VirtualTopic.{topic}.{shard}"


def claim_of(topic: str) -> str:
    """Return the queue of a topic's claims."""
    return f"/queue/eventkit.claim.{topic}"


class Registry:
    """Reads and writes records, on a new connection for each call."""

    def __init__(self, address: ActiveAddress) -> None:
        self._address = address

    def require(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many shards each topic has; TopicUnusable when one is missing."""
        with self._browsing() as browser:
            found = {topic: browser.shards(topic) for topic in topics}
        missing = {topic: MISSING for topic, shards in found.items() if not shards}
        if missing:
            raise TopicUnusable(missing)
        return found

    def create(self, topics: Sequence[str], *, partitions: int) -> list[str]:
        """Create the missing topics and return their names."""
        with self._browsing() as browser:
            missing = [topic for topic in dict.fromkeys(topics) if not browser.shards(topic)]
            for topic in missing:
                browser.record(_topics(topic), TopicRecord(partitions))
        return missing

    def join(self, shards: Mapping[str, int], group: str) -> bool:
        """Create a group's queues, then its record; return whether a record was missing."""
        is_new = False
        with self._browsing() as browser:
            for topic, count in shards.items():
                browser.make([queue_of(topic, shard, group) for shard in range(count)])
                if group not in browser.groups(topic):
                    browser.record(_groups(topic), GroupRecord(group))
                    is_new = True
        return is_new

    def prepare(self, topic: str, *, needs_group: bool) -> int:
        """Create the missing queues of all groups of a topic; return its number of shards.

        TopicUnusable when it has no group and needs one.
        """
        count = self.require([topic])[topic]
        with self._browsing() as browser:
            groups = browser.groups(topic)
            if needs_group and not groups:
                raise TopicUnusable({topic: NO_GROUP})
            browser.make([queue_of(topic, shard, group) for group in sorted(groups) for shard in range(count)])
        return count

    def claim(self, topics: Sequence[str], owner: str) -> dict[str, str]:
        """Claim unclaimed topics; return the owner of each topic that exists."""
        holders = {}
        with self._browsing() as browser:
            for topic in topics:
                if browser.shards(topic):
                    if not browser.owner(topic):
                        browser.record(claim_of(topic), ClaimRecord(owner))
                    holders[topic] = browser.owner(topic) or owner
        return holders

    def groups(self, topics: Sequence[str]) -> list[str]:
        """Return the recorded groups of topics."""
        with self._browsing() as browser:
            return sorted({group for topic in topics for group in browser.groups(topic)})

    def server(self) -> str:
        """Return the server's name and release, as it reports them."""
        with connected(self._address) as connection:
            return connection.server

    def findings(self) -> list[Finding]:
        """Return the findings that are possible: STOMP does not show the broker's store."""
        with connected(self._address) as connection:
            server = connection.server
        return [
            Finding(
                "messages",
                f"persistent, in transactions with a receipt, to {server}",
                "persistent",
                safe=True,
                reason="a broker started with persistent=false loses them in a crash, which STOMP does not show",
            )
        ]

    def _browsing(self) -> "Browser":
        return Browser(self._address)


class Browser:
    """A connection that browses queues without removing messages."""

    def __init__(self, address: ActiveAddress) -> None:
        self._seen: list[bytes] = []
        self._ended = threading.Event()
        self._number = 0
        self._connection = Connection(address, arrived=self._arrive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def shards(self, topic: str) -> int:
        """Return how many shards a topic has, 0 for a missing topic; after a race the first record counts."""
        records = self._browse(_topics(topic))
        return msgspec.json.decode(records[0], type=TopicRecord).partitions if records else 0

    def groups(self, topic: str) -> set[str]:
        """Return the groups of a topic."""
        return {msgspec.json.decode(record, type=GroupRecord).group for record in self._browse(_groups(topic))}

    def owner(self, topic: str) -> str:
        """Return the owner of the relay that sends to a topic; an empty text if it is unclaimed."""
        records = self._browse(claim_of(topic))
        return msgspec.json.decode(records[0], type=ClaimRecord).owner if records else ""

    def record(self, queue: str, record: msgspec.Struct) -> None:
        """Write a durable record."""
        body = msgspec.json.encode(record)
        headers = {"destination": queue, "persistent": "true", "content-length": str(len(body))}
        self._connection.wait(self._connection.send("SEND", headers, body, receipt=True))

    def make(self, queues: Sequence[str]) -> None:
        """Create missing queues, by browsing them."""
        for queue in queues:
            self._subscribe(queue, receipt=True)

    def _browse(self, queue: str) -> list[bytes]:
        self._seen, self._ended = [], threading.Event()
        self._subscribe(queue, receipt=False)
        deadline = time.monotonic() + _BROWSE_TIMEOUT
        while not self._ended.wait(_END_CHECK_INTERVAL):
            if self._connection.end or time.monotonic() > deadline:
                reason = f"ActiveMQ did not show {queue} in {_BROWSE_TIMEOUT:g} s"
                raise TransportUnavailable(self._connection.end or reason)
        return self._seen

    def _subscribe(self, queue: str, *, receipt: bool) -> None:
        self._number += 1
        headers = {"id": str(self._number), "destination": queue, "browser": "true", "ack": "auto"}
        number = self._connection.send("SUBSCRIBE", headers, receipt=receipt)
        if receipt:
            self._connection.wait(number)
            self._connection.send("UNSUBSCRIBE", {"id": str(self._number)})

    def _arrive(self, frame: Frame) -> None:
        if frame.headers["subscription"] != str(self._number):
            return  # the rest of an earlier browse
        if frame.headers.get("browser") == "end":
            self._ended.set()
        else:
            self._seen.append(frame.body)


def _topics(topic: str) -> str:
    return f"/queue/eventkit.topic.{topic}"


def _groups(topic: str) -> str:
    return f"/queue/eventkit.groups.{topic}"
