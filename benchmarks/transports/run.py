"""Rounds over one broker: both contestants publish, then each consumes its own messages."""

import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import msgspec

from benchmarks.measure import Rounds, Sample
from benchmarks.transports.contestant import SHARDS, Load
from eventkit.transports import open_transport

OURS, CLIENT = "ours", "client"
WHATS = ("publish", "consume")


def title(broker: str, what: str, who: str) -> str:
    """Return a contestant's name in tables."""
    return f"{broker} {what}" if who == OURS else f"{broker} {what}, client"


class TransportRun:
    """One broker, at its address."""

    def __init__(self, broker: str, url: str, load: Load, rounds: Rounds) -> None:
        """Measure nothing yet."""
        self._broker = broker
        self._url = url
        self._load = load
        self._rounds = rounds

    def laps(self, rounds: int) -> Iterator[str]:
        """Let both run in each round, first one, then the other first; yield who is next."""
        for number in range(rounds):
            order = (OURS, CLIENT)[:: -1 if number % 2 else 1]
            topics = {who: self._topic() for who in order}
            for what in WHATS:
                for who in order:
                    yield f"{title(self._broker, what, who)}, round {number + 1}"
                    self._rounds.add(title(self._broker, what, who), self._lap(who, what, topics[who]))

    def _topic(self) -> str:
        """Make a topic with a group that keeps the messages sent to it."""
        topic = f"bench-{uuid4().hex[:12]}"
        transport = open_transport(self._url)
        transport.create_topics([topic], partitions=SHARDS)
        transport.subscribe([topic], topic).close()
        transport.close()
        return topic

    def _lap(self, who: str, what: str, topic: str) -> Sample:
        load = [str(number) for number in msgspec.structs.astuple(self._load)]
        words = [self._broker, who, what, self._url, topic, *load]
        command = [sys.executable, "-m", "benchmarks.transports.contestant", *words]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{title(self._broker, what, who)} ended with exit code {done.returncode}: see above")
        return msgspec.json.decode(done.stdout, type=Sample)


def figures(broker: str, rounds: Rounds) -> dict[str, float]:
    """Return a broker's figures for `--json`."""
    found: dict[str, float] = {}
    for what in WHATS:
        ours, client = title(broker, what, OURS), title(broker, what, CLIENT)
        found[f"{broker}_{what}_ratio"] = rounds.ratio(ours, client)
        found[f"{broker}_{what}_events_per_second"] = rounds.rate(ours)
        found[f"{broker}_{what}_client_events_per_second"] = rounds.rate(client)
    return found
