"""Claims of topics: the relay claims each topic at the broker before it sends the first event there.

Two installations that send to one topic mix their streams: readers take events of one for events of the other. So the
relay holds a topic that another installation has claimed. An operator may declare both to be shards of one service.
"""

import logging
import time
from collections.abc import Collection
from typing import Any

import psycopg

from eventkit.errors import TransportError, TransportUnavailable
from eventkit.observability.liveness import waiting_for
from eventkit.storage.events import record_topic
from eventkit.transports import Transport

logger = logging.getLogger("eventkit.relay")

_RENEWAL_INTERVAL = 3_600.0  # seconds; a broker may forget a claim after days


class Claims:
    """The claims of one relay process; used by one thread at a time."""

    def __init__(self, transport: Transport, *, share_topics: bool = False) -> None:
        """Claim on `transport`; with `share_topics`, other installations may send to the same topics."""
        self._transport = transport
        self._share_topics = share_topics
        self._claimed: dict[str, float] = {}  # topic -> time on the monotonic clock

    def refused(
        self, connection: psycopg.Connection[Any], schema: str, topics: Collection[str], *, owner: str
    ) -> dict[str, str]:
        """Claim topics for the installation `owner`, and record them; return the refused topics with reasons."""
        now = time.monotonic()
        due = [topic for topic in topics if now - self._claimed.get(topic, -_RENEWAL_INTERVAL) >= _RENEWAL_INTERVAL]
        holders = self._claim(due, owner) if due else {}
        for topic, holder in holders.items():
            if holder == owner or self._share_topics:
                record_topic(connection, schema, topic)
                self._claimed[topic] = now
        return {topic: refusal(topic, holder, owner) for topic, holder in holders.items() if topic not in self._claimed}

    def _claim(self, topics: list[str], owner: str) -> dict[str, str]:
        """Return the owner of each topic; the publisher reports a missing topic."""
        try:
            with waiting_for("the broker"):
                return self._transport.claim(topics, owner)
        except TransportUnavailable:
            raise
        except TransportError as error:
            names = ", ".join(topics)
            logger.warning(
                "%s: events are sent without a claim, so another installation is not refused: %s", names, error
            )
            return dict.fromkeys(topics, owner)


def refusal(topic: str, holder: str, owner: str) -> str:
    """Return why an installation does not send to a topic of another one, and the commands that solve it."""
    return (
        f"the relay of installation {holder} sends to it, and this is installation {owner}: their streams would mix. "
        "Give one of them another catalog or broker. If the other is gone for good, run "
        f"`eventkit topics release {topic}`. If both are shards of one service, start the relay with --share-topic"
    )
