"""A contestant's turn, on a database and a topic of its own: a backlog to drain, or a load to follow."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import msgspec

from benchmarks.laps import Lap, Load
from benchmarks.measure import Meter, Sample
from benchmarks.openloop import STREAMS, OpenLoop
from benchmarks.peers.carrier import Carrier, Place
from benchmarks.peers.contestant import Contestant
from benchmarks.peers.delivered import PARTITIONS, Delivered, Topic
from benchmarks.peers.eventkit import EventkitOutbox
from benchmarks.peers.load import contend, opener
from benchmarks.servers import Kafka
from tests.servers.postgres import PostgresServer, by_tcp

_WARM_UP = STREAMS  # events before a backlog, so that all is connected
_TIMEOUT = 120.0  # seconds for the warm-up to come through


class Drain(msgspec.Struct, frozen=True):
    """A drained backlog: the sample counts delivered events and their seconds."""

    delivered: Delivered
    sample: Sample
    whole: bool  # not stopped by the time limit

    @property
    def asked(self) -> int:
        """How many events the backlog had."""
        return self.delivered.events + self.delivered.missing


class Ground(msgspec.Struct, frozen=True):
    """The servers that all turns are on."""

    server: PostgresServer
    kafka: Kafka

    def drain(self, contestant: Contestant, events: int, *, limit: float) -> Drain:
        """Let a contestant drain a backlog, for so many seconds at most."""
        numbers = range(_WARM_UP, _WARM_UP + events // STREAMS * STREAMS)
        with self._turn(contestant) as (place, carrier), Topic(place.bootstrap, place.topic) as topic:
            self._warm_up(contestant, place, carrier, topic)
            contestant.outbox.fill(place, numbers)
            carrier.start()
            meter = Meter(carrier.pid)
            whole = topic.wait(numbers.stop, carrier, limit=limit)
            used = meter.sample(0, 1)
            carrier.stop()
            delivered = topic.delivered(numbers)
        sample = msgspec.structs.replace(used, events=delivered.events, seconds=delivered.seconds)
        return Drain(delivered, sample, whole)

    def follow(self, contestant: Contestant, load: Load) -> tuple[Lap, Sample]:
        """Put a load on a contestant, after one that counts for nothing."""
        with self._turn(contestant) as (place, carrier):
            carrier.start()
            opened = opener(contestant.outbox.inserter(place))
            with OpenLoop(opened, place.database_url, place.bootstrap, place.topic) as loop:
                loop.lap(load)
                meter = Meter(carrier.pid)
                lap = loop.lap(load)
                used = meter.sample(load.events, load.seconds + load.warm)
            carrier.check()
        return lap, used

    def contend(self, contestant: Contestant, seconds: float) -> Delivered:
        """Let several writers write to the same streams at once, and check the topic."""
        with self._turn(contestant) as (place, carrier), Topic(place.bootstrap, place.topic) as topic:
            carrier.start()
            numbers = contend(contestant.outbox.inserter(place), place.database_url, seconds)
            topic.wait(len(numbers), carrier, limit=_TIMEOUT)
            carrier.stop()
            return topic.delivered(numbers)

    @contextmanager
    def _turn(self, contestant: Contestant) -> Iterator[tuple[Place, Carrier]]:
        topic = f"peers.{contestant.name}-{uuid4().hex[:8]}"
        self.kafka.create_topic(topic, PARTITIONS, message_timestamp_type="LogAppendTime")
        database = self.server.fresh(migrated=isinstance(contestant.outbox, EventkitOutbox))
        place = Place(by_tcp(database), self.kafka.bootstrap, topic)
        try:
            with contestant.carrier(place) as carrier:
                yield place, carrier
        finally:
            self.server.drop(database)
            self.kafka.delete_topic(topic)

    def _warm_up(self, contestant: Contestant, place: Place, carrier: Carrier, topic: Topic) -> None:
        carrier.start()
        with ExitStack() as open_:
            write = opener(contestant.outbox.inserter(place))(place.database_url, open_)
            for number in range(_WARM_UP):
                write(number)
        if not topic.wait(_WARM_UP, carrier, limit=_TIMEOUT):
            raise TimeoutError(f"{contestant.title}: the warm-up has not come through within {_TIMEOUT:g} s")
        carrier.stop()
