"""Relay processes share the parts by themselves: they join, end, die and hang under load, and no event is lost.

Each stream arrives in order.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from eventkit.cli import main
from eventkit.errors import TransportUnavailable
from eventkit.insights.database_checks import outbox as outbox_findings
from eventkit.relay import Claims, Relay
from eventkit.storage.db.connection import connect
from eventkit.storage.outbox.outbox import READING
from eventkit.storage.outbox.part_count import change_part_count
from eventkit.storage.outbox.part_leases import lease_name, lease_rows
from eventkit.storage.schema import Health
from eventkit.transports.local import LocalTransport
from eventkit.transports.local.publisher import LocalPublisher
from eventkit.worker import Stop, supervise
from tests.relay.conftest import Topic, append
from tests.relay.process import RelayProcess
from tests.servers.kafka import KafkaServer
from tests.waiting import wait_until

PARTS = 4
STREAMS = 24

Session = psycopg.Connection[Any]


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    """An operator's session, on a database whose relays share four parts."""
    with connect(database_url, name="operator", autocommit=True) as opened:
        change_part_count(opened, "eventkit", PARTS, actor="test")
        yield opened


class Relays:
    """Relay processes, and how many parts each of them holds."""

    def __init__(self, session: Session, start: Any) -> None:  # noqa: ANN401
        self._session = session
        self._start = start

    def start(self) -> RelayProcess:
        """Start one more."""
        process: RelayProcess = self._start()
        return process

    def shares(self) -> dict[int, int]:
        """Return how many parts each process holds, by its number."""
        names = {lease_name(part, PARTS) for part in range(PARTS)}
        rows = [row for row in lease_rows(self._session, "eventkit") if row.name in names and row.is_held]
        return dict(Counter(int(row.owner.rpartition(":")[2]) for row in rows))

    def share(self, expected: dict[RelayProcess, int]) -> None:
        """Wait until each of these processes holds so many parts."""
        by_number = {process.pid: count for process, count in expected.items() if count}
        wait_until(lambda: self.shares() == by_number, what=f"{by_number}, not {self.shares()}")


@pytest.fixture
def relays(session: Session, database_url: str, kafka: KafkaServer, tmp_path: Path) -> Iterator[Relays]:
    """No relay runs yet; all end with the test."""
    with ExitStack() as stack:
        logs = iter(tmp_path / f"relay{number}.log" for number in range(10))
        yield Relays(session, lambda: stack.enter_context(RelayProcess(database_url, kafka.url, next(logs))))


@contextmanager
def written(url: str, topic: str) -> Iterator[list[int]]:
    """Append to all streams, one event after the other, until the end of the block; the list has their number then."""
    over, count = threading.Event(), [0]

    def write() -> None:
        with psycopg.connect(url) as writer:
            while not over.wait(0.002) or count[0] % STREAMS:
                number = count[0] % STREAMS
                append(writer, f"order-{number}", topic=topic, shard=number)
                writer.commit()
                count[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield count
    finally:
        over.set()
        thread.join()


def test_relays_that_join_end_die_and_hang_lose_nothing_and_keep_each_stream_in_order(
    relays: Relays, topic: Topic, database_url: str
) -> None:
    """Under load: two join, one ends cleanly, one is killed, one is stopped past its lease and wakes up again."""
    with written(database_url, topic.name) as count:
        first = relays.start()
        relays.share({first: 4})
        second, third = relays.start(), relays.start()
        wait_until(lambda: sorted(relays.shares().values()) == [1, 1, 2], what="three shares")

        second.terminate()
        relays.share({first: 2, third: 2})
        third.pause()
        relays.share({first: 4})
        third.resume()
        relays.share({first: 2, third: 2})
        first.kill()
        relays.share({third: 4})
    topic.has(count[0])

    for stream in range(STREAMS):
        versions = [version for name, version in dict.fromkeys(topic.arrived) if name == f"order-{stream}"]
        assert versions == list(range(1, count[0] // STREAMS + 1))


def test_more_relays_than_parts_stand_by(relays: Relays) -> None:
    """The fifth of five has no part, and takes that of a killed one."""
    processes = [relays.start() for _ in range(PARTS + 1)]
    wait_until(lambda: sorted(relays.shares().values()) == [1] * PARTS, what="a part each")
    (standby,) = [process for process in processes if process.pid not in relays.shares()]
    standby.says("standing by")
    busy = next(process for process in processes if process is not standby)

    busy.kill()

    wait_until(lambda: relays.shares().get(standby.pid) == 1, what="the standby's part")


def test_the_command_shows_the_parts_and_changes_their_number_while_no_relay_runs(
    relays: Relays, session: Session, database_url: str
) -> None:
    """Beside a relay it is refused with the relay's name; when the relay has ended, it is done at once."""

    def parts(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["relay", "parts", *words], env={"EVENTKIT_DATABASE_URL": database_url})
        return done.exit_code, done.output

    assert parts()[1].splitlines() == ["4 parts", *(f"  {part}  no relay" for part in range(PARTS))]
    process = relays.start()
    relays.share({process: PARTS})

    code, said = parts("2")

    assert code == 1
    assert "1 relay process runs" in said
    assert f":{process.pid})" in said
    assert f":{process.pid}, epoch 1" in parts()[1]
    process.terminate()
    assert parts("2", "--as", "ann") == (0, "2 parts\n")
    actor = "select actor from eventkit.operator_actions order by id desc limit 1"
    assert session.execute(actor).fetchone() == ("ann",)
    assert parts("--json")[1] == '{"parts": 2, "held": [null, null]}\n'


def test_the_doctor_names_the_parts_without_a_relay(session: Session, database_url: str) -> None:
    """Of the installation's number of parts, those whose lease nobody holds."""
    with psycopg.connect(database_url) as writer:
        append(writer, "order-1")
    held = "insert into eventkit.leases (name, epoch, owner, expires_at) values ('relay 1/4', 1, 'one', 'infinity')"

    def found() -> list[str]:
        health = Health(session, "eventkit")
        return [finding.found for finding in outbox_findings(health) if finding.setting == "relay"]

    assert found() == ["none runs"]
    session.execute(held)
    assert found() == ["nobody holds relay 0/4, relay 2/4, relay 3/4"]


class Unreachable(LocalTransport):
    """A broker that this process does not reach, while others do; it counts the publishers that were opened for it."""

    away = False
    asked = 0  # in vain
    opened = 0

    def check(self, topics: Sequence[str] = ()) -> str:
        """Answer, unless it is away."""
        if self.away:
            self.asked += 1
            raise TransportUnavailable("no route to the broker")
        return super().check(topics)

    def publisher(self, *, to_listeners: bool = False) -> LocalPublisher:
        """Open a publisher; it fails while the broker is away."""
        self.opened += 1
        return super().publisher(to_listeners=to_listeners)


def test_a_relay_that_does_not_reach_its_broker_takes_no_parts_from_one_that_does(
    session: Session, database_url: str
) -> None:
    """It gives up its parts, stays out until its broker answers, and gets its share back then."""
    stop = Stop()
    here, there = LocalTransport("here"), Unreachable("there")
    for transport in (here, there):
        transport.create_topics(["shop.order"], partitions=2)

    def run(owner: str, transport: LocalTransport) -> None:
        def opened(name: str) -> Session:
            return connect(database_url, name=name, autocommit=True, options=READING)

        relay = Relay(opened, transport, schema="eventkit", owner=owner, claims=Claims(transport, share_topics=True))
        supervise(relay.run, stop, name=owner)

    def shares() -> dict[str, int]:
        names = {lease_name(part, PARTS) for part in range(PARTS)}
        return dict(Counter(row.owner for row in lease_rows(session, "eventkit") if row.name in names and row.is_held))

    threads = [threading.Thread(target=run, args=pair) for pair in (("one", here), ("two", there))]
    try:
        for thread in threads:
            thread.start()
        wait_until(lambda: shares() == {"one": 2, "two": 2}, what="two parts each")
        there.away = True
        there.lose("the connection broke")
        with psycopg.connect(database_url) as writer:
            for shard in range(8):
                append(writer, f"order-{shard}", shard=shard)
        wait_until(lambda: session.execute("select count(*) from eventkit.outbox").fetchone() == (0,), what="all sent")
        assert shares() == {"one": 4}
        opened = there.opened
        wait_until(lambda: there.asked >= 4, what="some attempts")

        assert shares() == {"one": 4}
        assert there.opened == opened
        there.away = False
        there.heal()
        wait_until(lambda: shares() == {"one": 2, "two": 2}, what="two parts each again")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
