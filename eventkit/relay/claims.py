"""The topics that this installation's relay may send to: each is claimed at the broker before its first event is sent.

Two installations that send to one topic mix their streams: readers take the events of one for those of the other. So a
topic that another installation has claimed is held, unless the operator says that both are shards of one service.
"""

import logging
import time
from collections.abc import Collection
from typing import Any

import psycopg

from eventkit.errors import TransportError, TransportUnavailable
from eventkit.storage.events import record_topic
from eventkit.transports import Transport

logger = logging.getLogger("eventkit.relay")

_RENEWAL = 3_600.0  # seconds; a broker may forget a claim after days


class Claims:
    """The claims of one relay process; used by one thread at a time."""

    def __init__(self, transport: Transport, *, share_topics: bool = False) -> None:
        """Claim nothing yet; with `share_topics` others may send to the same topics."""
        self._transport = transport
        self._share = share_topics
        self._claimed: dict[str, float] = {}  # when

    def refused(
        self, connection: psycopg.Connection[Any], schema: str, topics: Collection[str], *, owner: str
    ) -> dict[str, str]:
        """Claim topics for an installation, and record them; return why not, for those that are another's."""
        now = time.monotonic()
        due = [topic for topic in topics if now - self._claimed.get(topic, -_RENEWAL) >= _RENEWAL]
        holders = self._claim(due, owner) if due else {}
        for topic, holder in holders.items():
            if holder == owner or self._share:
                record_topic(connection, schema, topic)
                self._claimed[topic] = now
        return {
            topic: _refusal(topic, holder, owner) for topic, holder in holders.items() if topic not in self._claimed
        }

    def _claim(self, topics: list[str], owner: str) -> dict[str, str]:
        """Return whose the topics are; a topic that is missing is held by its publisher."""
        try:
            return self._transport.claim(topics, owner)
        except TransportUnavailable:
            raise
        except TransportError as error:
            names = ", ".join(topics)
            logger.warning("%s: sent to without a claim, so the relay of another is not refused: %s", names, error)
            return dict.fromkeys(topics, owner)


def _refusal(topic: str, holder: str, owner: str) -> str:
    return (
        f"the relay of installation {holder} sends to it, and this is installation {owner}: their streams would mix. "
        "Give one of them another catalog or broker; where the other is gone for good, run "
        f"`eventkit topics release {topic}`; where both are shards of one service, start the relay with --share-topic"
    )
