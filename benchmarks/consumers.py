"""The consumers, each in a process of its own.

`python -m benchmarks.consumers CONTESTANT DATABASE BROKER TOPIC GROUP EVENTS`

    bare | tuned  consume by 4,000, and read key, value and headers of each message; tuned: with our fetch settings
    subscription  the transport's subscription alone
    table | shared | sql    a projector with that projection; table:observed: with an endpoint that is asked

With EVENTS 0 it shares the topic with others, and ends when nothing has come for a while. The clock runs from the first
message to the end of the last batch. Prints its `Lap` as JSON.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext

import msgspec
from confluent_kafka import Consumer

from benchmarks.measure import Meter, Sample
from benchmarks.observed import watched
from benchmarks.orders import PROJECTIONS
from eventkit.config import Settings
from eventkit.domain.message import Message
from eventkit.health import Serving
from eventkit.observability.liveness import loop
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.batch import Source
from eventkit.projection.run.projector import Projector
from eventkit.projection.run.resume import Begin
from eventkit.projection.run.sources import LIMIT, RECEIVE_WAIT, TransportSource
from eventkit.storage.db.connection import connect
from eventkit.storage.events.stream_history import OwnHistory
from eventkit.transports.base import Mark, Resume, open_transport
from eventkit.worker import collect_garbage_rarely

IDLE = 3.0  # seconds without a message, after which a group has read everything
DEADLINE = 60.0  # seconds to wait for a first message
SHARING = 8.0  # the same in a group, where others may have everything
BARE: dict[str, dict[str, str | int]] = {
    "bare": {},
    "tuned": {"check.crcs": "true", "fetch.queue.backoff.ms": 20},  # as our subscription has them
}


class Place(msgspec.Struct, frozen=True):
    """The topic and the tables that a consumer reads."""

    bootstrap: str
    topic: str
    group: str


class Lap(msgspec.Struct, frozen=True):
    """The measurements of one process, with their times on the machine's monotonic clock."""

    sample: Sample
    began: float
    ended: float


class Clock:
    """Counts from the first message on."""

    def __init__(self, events: int) -> None:
        """Wait for the first of so many."""
        self._events = events
        self._count = 0
        self._began = self._ended = time.monotonic()
        self._idle_from = self._began + (DEADLINE if events else SHARING)
        self._meter = Meter()
        self._sample = Sample(0, 1.0, 0.0, 0.0)

    def received(self, count: int) -> None:
        """Start, where these are the first."""
        if count and not self._count:
            self._began, self._meter = time.monotonic(), Meter()

    def done(self, count: int) -> bool:
        """Count finished events, and return whether they were all."""
        now = time.monotonic()
        self._count += count
        if count:
            self._ended, self._idle_from = now, now + IDLE
            self._sample = self._meter.sample(self._count, max(now - self._began, 1e-9))
        if now > self._idle_from and self._events:
            raise TimeoutError(f"{self._count} of {self._events} messages came, then none any more")
        return (bool(self._events) and self._count >= self._events) or now > self._idle_from

    def lap(self) -> Lap:
        """Return the measurements."""
        return Lap(self._sample, self._began, self._ended)


class Timed:
    """A source that notes times."""

    position = None
    ready = True

    def __init__(self, source: Source, clock: Clock) -> None:
        """Stand before a source."""
        self._source = source
        self._clock = clock

    def receive(self) -> list[Message]:
        """Receive."""
        messages = self._source.receive()
        self._clock.received(len(messages))
        return messages

    def marks(self, messages: Sequence[Message]) -> list[Mark]:
        """Return the source's places."""
        return self._source.marks(messages)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge."""
        self._source.acknowledge(messages)

    def close(self) -> None:
        """Close."""
        self._source.close()


def bare(place: Place, clock: Clock, options: dict[str, str | int]) -> None:
    """Consume with the client alone."""
    settings = {
        "bootstrap.servers": place.bootstrap,
        "group.id": place.group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        **options,
    }
    with closing(Consumer(settings)) as consumer:
        consumer.subscribe([place.topic])
        count = 0
        while not clock.done(count):
            batch = consumer.consume(LIMIT, RECEIVE_WAIT)
            clock.received(len(batch))
            for message in batch:
                message.key(), message.value(), message.headers()
            count = len(batch)


def subscription(source: Source, clock: Clock) -> None:
    """Receive and acknowledge, and do nothing with it."""
    count = 0
    while not clock.done(count):
        messages = source.receive()
        source.acknowledge(messages)
        count = len(messages)


def projector(database: str, name: str, subscribe: Callable[[Resume | None], Timed], clock: Clock) -> None:
    """Project, as `eventkit projector run` does it."""
    projection = PROJECTIONS[name]
    connection = connect(database, name="bench", autocommit=False, options={"lock_timeout": "10s", "jit": "off"})
    workspace = projection.workspace(connection)
    running = Projector(
        BatchApplier(projection, workspace, schema="eventkit"), history=OwnHistory(connection, "eventkit")
    )
    running.start()
    with closing(subscribe(running.resume_points(Begin.REFUSE))) as source:
        count = 0
        while not clock.done(count):
            count = running.step(source)
    workspace.close()


def run(contestant: str, database: str, place: Place, *, events: int) -> Lap:
    """Let one contestant run."""
    kind, _, observed = contestant.partition(":")
    with _observed(database, place) if observed else nullcontext():  # it imports modules: before garbage is set aside
        collect_garbage_rarely()
        return _lap(kind, database, place, events=events)


def _lap(contestant: str, database: str, place: Place, *, events: int) -> Lap:
    clock = Clock(events)
    if contestant in BARE:
        bare(place, clock, BARE[contestant])
        return clock.lap()
    transport = open_transport(f"kafka://{place.bootstrap}")

    def subscribe(resume: Resume | None) -> Timed:
        return Timed(TransportSource(transport.subscribe([place.topic], place.group, resume=resume)), clock)

    if contestant == "subscription":
        with closing(subscribe(None)) as source:
            subscription(source, clock)
    else:
        projector(database, contestant, subscribe, clock)
    return clock.lap()


@contextmanager
def _observed(database: str, place: Place) -> Iterator[None]:
    """Serve as `eventkit projector run --serve` does, and be asked."""
    settings = Settings(database_url=database, transport_url=f"kafka://{place.bootstrap}")
    with (
        closing(Serving("0", settings, role="projector", broker=True, lease=False, stopping=lambda: False)) as serving,
        loop("projector"),
        watched(serving.address) as is_ready,
    ):
        serving.started(["table"])
        if not is_ready.wait(DEADLINE):
            raise TimeoutError(f"the endpoint has not answered with 200 for {DEADLINE:.0f} s")
        yield


if __name__ == "__main__":
    name, url, broker, wanted, member_of, number = sys.argv[1:]
    print(msgspec.json.encode(run(name, url, Place(broker, wanted, member_of), events=int(number))).decode())
