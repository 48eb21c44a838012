"""Every wrong reader is caught by the checker of the workload, by a count above zero; the right one, there, by none.

The transactions are held by hand, so that each is caught every time.
"""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from eventkit import Append, EventStore
from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.storage import migrate
from eventkit.storage.outbox.gap_reader import GapReader, Row
from eventkit.storage.outbox.outbox import Outbox
from tests.faults import mutants
from tests.faults.checker import Arrival, Verdict, judge, recorded
from tests.faults.shop import Noted, note, order, reading, shop, store
from tests.servers.postgres import PostgresServer

Connection = psycopg.Connection[Any]
Make = Callable[[Connection], Any]


class Hand:
    """A database, its transactions held by hand, and one reader that publishes to a list."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.opened: list[Connection] = []
        self.arrived: list[Arrival] = []

    def connect(self) -> Connection:
        """Open a service's connection."""
        self.opened.append(psycopg.connect(self.url))
        return self.opened[-1]

    def reading(self) -> Connection:
        """Open a relay's connection."""
        self.opened.append(reading(self.url))
        return self.opened[-1]

    def commit(self, key: int, count: int = 1) -> None:
        """Append in a transaction that ends at once."""
        with psycopg.connect(self.url) as connection:
            note(connection, key, count)

    def publish(self, rows: list[Row]) -> None:
        """Take rows as a broker does."""
        self.arrived += [Arrival(row[2], int(row[3]), row[4]) for row in rows]

    def read(self, reader: Any, times: int = 12) -> None:  # noqa: ANN401 mutants share no class
        """Let a reader read often enough for any gap to sleep."""
        flight: set[int] = set()
        for _ in range(times):
            rows = reader.read(lambda: flight) if isinstance(reader, GapReader) else reader.read()
            flight.update(row[0] for row in rows)
            self.publish(rows)

    def verdict(self) -> Verdict:
        """Judge the received messages."""
        with psycopg.connect(self.url) as connection:
            return judge(self.arrived, recorded(connection))

    def close(self) -> None:
        """Close the connections."""
        for connection in self.opened:
            connection.close()


@pytest.fixture
def hand(database_url: str) -> Iterator[Hand]:
    """A fresh database in hand."""
    hand = Hand(database_url)
    yield hand
    hand.close()


def started(kind: type[GapReader], source: Any = Outbox, **limits: int) -> Make:  # noqa: ANN401 a class of sources
    """Return a function that starts a reader."""

    def make(connection: Connection) -> GapReader:
        reader = kind(source(connection, "eventkit"), **limits)
        reader.start_pending()
        return reader

    return make


def everyday(hand: Hand, make: Make) -> Verdict:
    """Late commits, an early transaction id, a stream that goes from one transaction to the next."""
    reader = make(hand.reading())
    early, late = hand.connect(), hand.connect()
    early.execute("select pg_current_xact_id()")
    note(late, 1)
    hand.commit(2)
    note(early, 3)
    early.commit()
    hand.read(reader)
    early.execute("select pg_current_xact_id()")
    late.commit()
    hand.read(reader)
    note(late, 4)
    late.commit()
    note(early, 4)
    early.commit()
    hand.read(reader)
    return hand.verdict()


def overtaking(hand: Hand, make: Make) -> Verdict:
    """A transaction that has slept for long commits, and the next version of its stream is there at once."""
    reader = make(hand.reading())
    late = hand.connect()
    note(late, 1)
    hand.commit(2)
    hand.read(reader)

    def overtake() -> None:
        if late.info.transaction_status:
            late.commit()
            hand.commit(1)

    source = reader._source
    if isinstance(source, mutants.HoldersFirst):
        source.between = overtake
    else:
        overtake()
    hand.read(reader)
    return hand.verdict()


def starting(hand: Hand, make: Make) -> Verdict:
    """A transaction draws a position while a reader starts, and another draws the next and commits."""
    late = hand.connect()

    def meanwhile() -> None:
        note(late, 1)
        hand.commit(2)

    mutants.StartAtWhatWasRead.between = staticmethod(meanwhile)
    reader = make(hand.reading())
    if not hand.opened[0].info.transaction_status:
        meanwhile()
    hand.read(reader)
    late.commit()
    hand.read(reader)
    return hand.verdict()


def paging(hand: Hand, make: Make) -> Verdict:
    """A backlog of several pages, with a transaction all over it that commits after the first."""
    late = hand.connect()
    for key in range(2, 12):
        note(late, 1)
        hand.commit(key)
    reader = make(hand.reading())
    flight: set[int] = set()
    for turn in range(20):
        rows = reader.read(lambda: flight)
        flight.update(row[0] for row in rows)
        hand.publish(rows)
        if turn == 0:
            late.commit()
    return hand.verdict()


RIGHT = started(GapReader)
CASES = [
    pytest.param(everyday, RIGHT, mutants.ByPosition, "lost", id="position above the cursor"),
    pytest.param(everyday, RIGHT, mutants.WaitingAtAGap, "lost", id="waiting at a gap"),
    pytest.param(everyday, RIGHT, mutants.ByTransactionId, "reordered", id="ordered by transaction id"),
    pytest.param(everyday, RIGHT, mutants.ByPositionBelowTheOldest, "lost", id="position below the oldest"),
    pytest.param(everyday, RIGHT, started(mutants.Unproven), "lost", id="gaps without proof"),
    pytest.param(
        overtaking, RIGHT, started(GapReader, mutants.HoldersFirst), "reordered", id="holders before the snapshot"
    ),
    pytest.param(overtaking, RIGHT, started(mutants.Oversleeping), "reordered", id="sleeping too long"),
    pytest.param(starting, RIGHT, started(mutants.StartAtWhatWasRead), "lost", id="started at what was read"),
    pytest.param(paging, started(GapReader, limit=3), started(mutants.Torn, limit=3), "reordered", id="torn pages"),
]


@pytest.mark.parametrize(("schedule", "right", "wrong", "count"), CASES)
def test_a_wrong_reader_is_caught_where_the_right_one_is_not(
    postgres: PostgresServer, schedule: Callable[[Hand, Make], Verdict], right: Make, wrong: Make, count: str
) -> None:
    """The same schedule, the same checker: the right reader keeps every promise, the wrong one breaks one."""
    verdicts = []
    for make in (right, wrong):
        url = postgres.fresh()
        hand = Hand(url)
        verdicts.append(schedule(hand, make))
        hand.close()
        postgres.drop(url)

    assert verdicts[0].clean, verdicts[0]
    assert getattr(verdicts[1], count) > 0, verdicts[1]


def test_two_relays_that_skip_locked_rows_are_caught(hand: Hand) -> None:
    """`for update skip locked`: the second relay publishes later events before the first has published its own."""
    first, second = hand.connect(), hand.connect()
    hand.commit(1, count=2)
    take = f"{mutants._PENDING} order by o.position limit 1 for update of o skip locked"

    slow = first.execute(take).fetchall()
    hand.publish(second.execute(take).fetchall())
    hand.publish(slow)

    assert hand.verdict().reordered > 0


def everything(hand: Hand, store: EventStore) -> Verdict:
    """Append many events in one statement, and read them with the right reader."""
    reader = started(GapReader)(hand.reading())
    with psycopg.connect(hand.url) as connection:
        store.append_many(connection, [Append(order(key), [Noted(n) for n in range(4)]) for key in range(50)])
    hand.read(reader)
    return hand.verdict()


def test_an_append_without_order_is_caught(hand: Hand) -> None:
    """Without `order by ord` positions are drawn in another order than versions, and published so."""
    unordered = EventStore(shop)
    unordered._sql = mutants.Unordered("eventkit")

    assert everything(hand, unordered).reordered > 0


def test_an_append_with_order_is_not(hand: Hand) -> None:
    """The same append as it is."""
    assert everything(hand, store).clean


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    """A server of one's own, whose log goes to the disk only when it must."""
    with EmbeddedPostgres(settings={"wal_writer_delay": "10s"}) as server:
        migrate.upgrade(server.url)
        yield server


def restarted(server: EmbeddedPostgres, resume: Callable[[Hand, GapReader], GapReader]) -> Verdict:
    """A prepared transaction lives through a restart, under another virtual id."""
    hand = Hand(server.url)
    reader = started(mutants.Forgetful)(hand.reading())
    late = hand.connect()
    note(late, 1)
    hand.commit(2)
    hand.read(reader)
    late.execute("prepare transaction 'late'")
    server.restart()
    reader = resume(hand, reader)
    hand.read(reader)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("commit prepared 'late'")
    hand.read(reader)
    hand.close()
    return hand.verdict()


def remember(hand: Hand, reader: GapReader) -> GapReader:
    """Continue with the old memory."""
    assert isinstance(reader, mutants.Forgetful)
    reader.reconnect(Outbox(hand.reading(), "eventkit"))
    return reader


def test_memory_kept_across_a_restart_is_caught(own_server: EmbeddedPostgres) -> None:
    """The holder that it waits for has another name now."""
    assert restarted(own_server, remember).lost > 0


def test_a_fresh_start_after_a_restart_loses_nothing(own_server: EmbeddedPostgres) -> None:
    """The same restart, and a reader that knows only the outbox."""
    assert restarted(own_server, lambda hand, _: started(GapReader)(hand.reading())).clean


def crashed(server: EmbeddedPostgres, source: type[Outbox]) -> Verdict:
    """Publish an asynchronous commit, and stop the server at once."""
    hand = Hand(server.url)
    reader = started(GapReader, source)(hand.reading())
    writer = hand.connect()
    note(writer, 1, 20)
    writer.execute("set local synchronous_commit = off")
    writer.commit()
    hand.read(reader, times=1)
    server.crash()
    server.restart()
    hand.close()
    assert hand.arrived
    return hand.verdict()


def test_publishing_before_it_is_durable_is_caught(own_server: EmbeddedPostgres) -> None:
    """Without the barrier a crash takes back a published event."""
    assert crashed(own_server, mutants.NotDurable).phantom > 0


def test_published_events_survive_a_crash(own_server: EmbeddedPostgres) -> None:
    """The same crash, with the barrier."""
    assert crashed(own_server, Outbox).clean
