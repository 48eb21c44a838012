"""A trickle of events that the broker refuses costs their own streams, and nobody else's time."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventkit.transports import open_transport
from tests.relay.conftest import append
from tests.relay.process import RelayProcess
from tests.servers.kafka import KafkaServer
from tests.waiting import wait_until

SECONDS = 12.0  # long enough for a relay that spends more on a refusal than their interval to fall behind
REFUSED_EACH = 0.5  # seconds
OTHERS_EACH = 0.1
LIMIT = 20_000  # bytes that the topic takes

Relay = tuple[KafkaServer, Path]


class Seen:
    """When innocent events were appended, and when each has arrived."""

    def __init__(self) -> None:
        self.appended: dict[tuple[str, int], float] = {}
        self.arrived: dict[tuple[str, int], float] = {}
        self.order: dict[str, list[int]] = {}

    def take(self, key: str, version: int) -> None:
        """Note an arrival."""
        place = key, version
        if place not in self.arrived:
            self.arrived[place] = time.monotonic()
            self.order.setdefault(key, []).append(version)

    def worst(self) -> float:
        """Return the highest age on arrival, in seconds."""
        return max(at - self.appended[place] for place, at in self.arrived.items())


@pytest.fixture
def topic_name(kafka: KafkaServer) -> Iterator[str]:
    """A topic that takes small events."""
    name = f"test.trickle{time.monotonic_ns()}"
    kafka.create_topic(name, partitions=3, max_message_bytes=LIMIT)
    yield name
    kafka.delete_topic(name)


@pytest.mark.parametrize("refused_by", ["the client", "the broker"])
def test_a_trickle_of_refused_events_delays_no_other_stream(
    database_url: str, kafka: KafkaServer, topic_name: str, tmp_path: Path, refused_by: str
) -> None:
    """Two refused events a second, each of a stream of its own: the relay keeps up, the others' arrive in order.

    A relay that spends seconds on each is behind by most of them when the last one is written.
    """
    options = {"message.max.bytes": "1000000"} if refused_by == "the broker" else {}
    seen = Seen()
    with (
        RelayProcess(database_url, kafka.url, tmp_path / "log", options=options) as relay,
        psycopg.connect(database_url) as writer,
        closing(open_transport(kafka.url)) as transport,
        closing(transport.subscribe([topic_name], "reader")) as subscription,
    ):
        relay.says("holding")
        refused = write(writer, topic_name, subscription, seen)
        parked_by_then, arrived_by_then = parked(writer), len(seen.arrived)
        wait_until(lambda: read(subscription, seen) and parked(writer) == refused, what="all of them")
    print(f"at most {seen.worst():.2f} s old on arrival")  # noqa: T201 the figure, with -s

    assert parked_by_then > refused / 2
    assert arrived_by_then > len(seen.appended) / 2
    assert all(versions == list(range(1, len(versions) + 1)) for versions in seen.order.values())


def parked(writer: psycopg.Connection[Any]) -> int:
    """Return how many refused events were parked."""
    row = writer.execute("select count(*) from eventkit.dead_letters where parked_by = 'relay'").fetchone()
    writer.commit()
    return int(row[0]) if row else 0


def write(writer: psycopg.Connection[Any], topic: str, subscription: Any, seen: Seen) -> int:  # noqa: ANN401 a transport's
    """Append innocent and refused events for a while, and read along; return how many were refused."""
    began, others, refused = time.monotonic(), 0, 0
    versions: dict[str, int] = {}
    while (now := time.monotonic()) < began + SECONDS:
        if now > began + refused * REFUSED_EACH:
            refused += 1
            append(writer, f"order-refused{refused}", text="x" * LIMIT * 2, topic=topic)
            append(writer, f"order-refused{refused}", topic=topic)  # waits behind it
            writer.commit()
        if now > began + others * OTHERS_EACH:
            others += 1
            stream = f"order-{others % 5}"
            versions[stream] = versions.get(stream, 0) + 1
            append(writer, stream, topic=topic)
            writer.commit()
            seen.appended[stream, versions[stream]] = time.monotonic()
        read(subscription, seen)
    return refused


def read(subscription: Any, seen: Seen) -> bool:  # noqa: ANN401 a transport's
    """Read the available messages; return whether all have arrived."""
    for message in subscription.receive(500, 0.02):
        assert "refused" not in message.key
        seen.take(message.key, int(dict(message.headers)["ce_streamversion"]))
    return seen.arrived.keys() >= seen.appended.keys()
