"""The judge of a campaign catches a mutant, by the count of that promise; without the mutant, it finds nothing.

On a real broker, each step by hand, so that each is caught every time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pytest

from eventkit.domain.message import Message
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.batch import Arrival
from eventkit.projection.counters import Counters
from eventkit.projection.reached import Reached
from eventkit.projection.run.projector import Projector
from eventkit.projection.run.sources import TransportSource
from eventkit.projection.transaction import OwnTransaction
from eventkit.storage.db.connection import connect
from eventkit.storage.events.stream_history import OwnHistory
from eventkit.transports import open_transport
from tests.conftest import lend
from tests.faults import ledger
from tests.faults.checker import Verdict, judge
from tests.faults.logs import count_lines
from tests.faults.read_models import acting
from tests.faults.shop import TOPIC, note
from tests.servers.redis import RedisServer
from tests.transports.traffic import deliver
from tests.waiting import wait_until

STREAM = "order-1"


class Hasty(TransportSource):
    """Acknowledges messages before it has applied them."""

    def receive(self) -> list[Message]:
        """Return a batch that will never come again."""
        messages = super().receive()
        self.acknowledge(messages)
        return messages


class Unguarded(Projector):
    """Applies every message in the order of delivery, by no checkpoint."""

    def _apply(self, messages: Sequence[Message], reached: Reached) -> bool:
        """Have the effects, and remember nothing of it."""
        del reached
        arrivals = [Arrival(each.key, int(dict(each.headers)["ce_streamversion"]), each) for each in messages]
        with self._applier.workspace.transaction() as connection:
            self._applier.fence(connection)
            self._applier.fold(arrivals, Counters())
        return True


class Pipeline:
    """From a service to the effects, step by step: a database, a broker, and the processes between them."""

    def __init__(self, url: str, broker: RedisServer) -> None:
        """Begin with a fresh database and an empty broker."""
        broker.client().flushall()
        ledger.create(url)
        self._url = url
        self._transport = open_transport(broker.url, {"session_timeout": "1"})
        self._transport.create_topics([TOPIC], partitions=2)

    def append(self, count: int, *, before_commit: Callable[[list[Message]], None] = lambda _: None) -> list[Message]:
        """Append in a transaction with its ledger, and commit; return the messages."""
        with psycopg.connect(self._url) as connection:
            appended = note(connection, 1, count)
            ledger.note(connection, appended)
            messages = OwnHistory(connection, "eventkit").between(STREAM, 0, 100, limit=100)
            before_commit(messages)
        return messages

    def publish(self, messages: Sequence[Message]) -> None:
        """Send, in the order that is given."""
        publisher = self._transport.publisher()
        sent = [Message(TOPIC, each.key, each.value, each.headers, tag) for tag, each in enumerate(messages)]
        assert len(deliver(publisher, sent).confirmed) == len(messages)
        publisher.close(5)

    @contextmanager
    def projector(
        self, kind: type[Projector] = Projector, source: type[TransportSource] = TransportSource
    ) -> Iterator[tuple[Projector, TransportSource]]:
        """Lend a member of the group; it dies at the end of the block, acknowledging nothing more."""
        connection = connect(self._url, name="projector", autocommit=False)
        workspace = OwnTransaction(connection, with_sqlalchemy=True)
        projector = kind(BatchApplier(acting, workspace, schema="eventkit"), history=OwnHistory(connection, "eventkit"))
        projector.start()
        receiving = source(self._transport.subscribe([TOPIC], acting.name))
        yield projector, receiving
        receiving.close()
        workspace.close()

    def follow(self, kind: type[Projector] = Projector) -> None:
        """Let a member finish the topic."""
        with self.projector(kind) as (projector, source):
            quiet = 0
            while quiet < 3:
                quiet = 0 if projector.step(source) else quiet + 1

    def verdict(self) -> Verdict:
        """Judge the effects."""
        with psycopg.connect(self._url) as connection:
            return judge(ledger.effects(connection), ledger.committed(connection))


@pytest.fixture(scope="module")
def broker() -> Iterator[RedisServer]:
    """A broker of this module's own: its topic has a fixed name."""
    yield from lend("redis, by hand", lambda: RedisServer().start())


@pytest.fixture
def pipeline(database_url: str, broker: RedisServer) -> Pipeline:
    """An empty pipeline."""
    return Pipeline(database_url, broker)


@pytest.mark.parametrize(("source", "lost"), [(Hasty, 5), (TransportSource, 0)])
def test_an_acknowledgement_before_the_effect_loses_messages(
    pipeline: Pipeline, source: type[TransportSource], lost: int
) -> None:
    """A projector dies with a batch in its hands."""
    pipeline.publish(pipeline.append(5))
    with pipeline.projector(source=source) as (_, receiving):
        wait_until(receiving.receive, what="a batch")

    pipeline.follow()

    assert pipeline.verdict() == Verdict(written=5, lost=lost, phantom=0, reordered=0, duplicates=0)


@pytest.mark.parametrize(("kind", "duplicates"), [(Unguarded, 5), (Projector, 0)])
def test_an_effect_without_a_checkpoint_happens_twice(
    pipeline: Pipeline, kind: type[Projector], duplicates: int
) -> None:
    """A projector dies when a batch is applied and not acknowledged."""
    pipeline.publish(pipeline.append(5))
    with pipeline.projector(kind) as (projector, source):
        projector.apply(wait_until(source.receive, what="a batch"))

    pipeline.follow(kind)

    assert pipeline.verdict() == Verdict(written=5, lost=0, phantom=0, reordered=0, duplicates=duplicates)


def test_an_event_published_before_its_commit_is_a_phantom(pipeline: Pipeline) -> None:
    """A service sends by itself, and then its transaction is rolled back."""

    def send_and_fail(messages: list[Message]) -> None:
        pipeline.publish(messages)
        raise ConnectionError("the service died")

    with pytest.raises(ConnectionError):
        pipeline.append(5, before_commit=send_and_fail)
    pipeline.follow()

    assert pipeline.verdict() == Verdict(written=0, lost=0, phantom=5, reordered=0, duplicates=0)


@pytest.mark.parametrize(("kind", "reordered"), [(Unguarded, 1), (Projector, 0)])
def test_an_overtaking_event_shows_as_disorder_or_as_a_hole(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, kind: type[Projector], reordered: int
) -> None:
    """Two relays send at once: who has no checkpoint acts out of order, who has one asks the store and says so."""
    first, second = pipeline.append(2)

    for message in (second, first):
        pipeline.publish([message])
        pipeline.follow(kind)

    assert pipeline.verdict() == Verdict(written=2, lost=0, phantom=0, reordered=reordered, duplicates=0)
    assert count_lines([caplog.text]).repaired == 1 - reordered
