"""The programs that run against a broker, and their messages: each lap in a process of its own.

`python -m benchmarks.transports.contestant BROKER WHO WHAT URL TOPIC EVENTS STREAMS SIZE`

WHO is `ours` or `client`, WHAT is `publish` or `consume`. The clock of a publisher runs from the first message to the
last confirmation, on a warm connection; that of a consumer from the first message to the last acknowledgement. Prints
its `Sample` as JSON.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import import_module
from typing import Protocol

import msgspec

from benchmarks.measure import Meter, Sample
from eventkit.domain.message import Message, plain_headers
from eventkit.worker import collect_garbage_rarely

SHARDS = 6
WARM = 600  # messages sent before the clock starts, some to each shard
DEADLINE = 60.0  # seconds without anything new
_ID, _TIME = "01890a5d-ac96-774b-bcce-b302099a8057", "2026-01-01T00:00:00.000000+00:00"


class Place(msgspec.Struct, frozen=True):
    """A broker, and a topic that is a contestant's own, of `SHARDS` shards, read by a group of the same name."""

    url: str
    topic: str


class Load(msgspec.Struct, frozen=True):
    """So many messages of so many streams, with so many bytes of data each."""

    events: int
    streams: int
    size: int

    def messages(self, topic: str) -> list[Message]:
        """Make them, as the relay would: seven headers each."""
        data = "x" * self.size
        return [
            Message(
                topic,
                f"order-{number % self.streams}",
                data,
                plain_headers(_ID, "bench", "ItemOrdered", _TIME, str(number // self.streams + 1)),
                number,
            )
            for number in range(self.events)
        ]


class Contestant(Protocol):
    """One way to a broker."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Send all and wait until all are confirmed; the connection stays for the next call."""

    def consume(self, count: int, began: Callable[[], None], open_: ExitStack) -> None:
        """Receive and acknowledge so many, with key, value and headers; `began` is called at the first.

        Open subscriptions then go into `open_`, to be closed after the clock has stopped.
        """


def lap(contestant: Contestant, what: str, topic: str, load: Load) -> Sample:
    """Publish or consume once."""
    collect_garbage_rarely()
    return _publish(contestant, topic, load) if what == "publish" else _consume(contestant, load.events + WARM)


def _publish(contestant: Contestant, topic: str, load: Load) -> Sample:
    contestant.publish(Load(WARM, WARM, load.size).messages(topic))
    messages = load.messages(topic)
    meter, began = Meter(), time.perf_counter()
    contestant.publish(messages)
    return meter.sample(load.events, time.perf_counter() - began)


def _consume(contestant: Contestant, count: int) -> Sample:
    started: list[tuple[Meter, float]] = []
    with ExitStack() as open_:
        contestant.consume(count, lambda: started.append((Meter(), time.perf_counter())), open_)
        meter, began = started[0]
        return meter.sample(count, time.perf_counter() - began)


def main(broker: str, who: str, what: str, *words: str) -> Sample:
    """Run one lap."""
    url, topic, *numbers = words
    module = import_module(f"benchmarks.transports.{'ours' if who == 'ours' else broker}")
    contestant: Contestant = module.Client(Place(url, topic))
    return lap(contestant, what, topic, Load(*map(int, numbers)))


if __name__ == "__main__":
    print(msgspec.json.encode(main(*sys.argv[1:])).decode())
