"""Pruning takes events that every reader has had, from the beginning of each stream, and reports them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy.engine import make_url

from eventkit.errors import ArchiveError, MaintenanceDenied, StreamClosed, StreamPruned
from eventkit.storage.db.session_checks import check_session
from eventkit.storage.events.categories import stored_categories
from eventkit.storage.events.event_store import ANY, Append, QueryItem
from eventkit.storage.outbox.event_log import EventLog
from eventkit.storage.outbox.gap_reader import GapReader
from eventkit.storage.outbox.outbox import Outbox
from eventkit.storage.retention.archive import Archive
from eventkit.storage.retention.prune import PruneRun, Which
from tests.storage.pruned import append, maintenance_role, project, prune, register, send, there
from tests.storage.shop import Placed, order, store

ROOT = Path(__file__).parents[2]
STREAMS = ["a", "b", "c"]
EVENTS = 80  # of the concurrent test


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    """A store that may be pruned, with two projections registered."""
    with maintenance_role(database_url):
        register(database_url, "totals", "board")
        yield database_url


def test_an_unsent_event_stays_and_so_do_later_ones(url: str) -> None:
    """A stream is pruned from its beginning, up to the first event that somebody has not had."""
    append(url, "a", 5)
    for name in ("totals", "board"):
        project(url, name, "a")
    send(url, "a", to=2)
    with psycopg.connect(url) as connection:  # the relay settles in any order
        connection.execute(
            "delete from eventkit.outbox where position = (select position from eventkit.events where version = 4)"
        )

    assert prune(url) == 2
    assert there(url) == {"order-a": [3, 4, 5]}


def test_an_event_that_a_projection_has_not_applied_stays(url: str) -> None:
    """Each registered projection counts, one that has not begun too; one may be ignored by name."""
    append(url, "a", 5)
    send(url, "a")
    project(url, "totals", "a")
    assert prune(url) == 0
    project(url, "board", "a", to=3)

    assert prune(url) == 3
    assert prune(url, ignored=["board"]) == 2


def test_pruning_does_not_wait_for_a_projection_of_other_categories(url: str, tmp_path: Path) -> None:
    """It is waited for where its own categories are concerned, and where it declares none."""
    append(url, "a", 3)
    send(url, "a")
    project(url, "totals", "a", to=2)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update eventkit.projections set categories = '{cart}' where name = 'board'")
        which = Which(before=datetime.now(UTC))
        pruning = PruneRun(connection, "eventkit", which, actor="ann")
        assert [(count.prunable, count.unapplied) for count in pruning.count()] == [(2, 1)]
        assert pruning.waited_for() == ["totals"]

        assert prune(url) == 2
        project(url, "totals", "a")
        assert Archive(connection, "eventkit", actor="ann").close(["order-a"], tmp_path / "archive") == 1


def test_an_event_that_a_rebuild_has_yet_to_read_stays(url: str) -> None:
    """The generation that is being built counts as a projection."""
    append(url, "a", 2)
    send(url, "a")
    for name in ("totals", "board"):
        project(url, name, "a")
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into eventkit.rebuilds (name, generation, declared_version, shadow, definition, total)"
            " values ('totals', 99, 2, 'shadow', '', 2)"
        )

    assert prune(url) == 0


def test_young_events_stay(url: str) -> None:
    """By the time at which it was recorded."""
    append(url, "a", 2)
    send(url, "a")

    assert prune(url, older=timedelta(hours=1), ignored=["totals", "board"]) == 0


def test_a_pruned_stream_continues_at_its_version(url: str) -> None:
    """Expected versions, ids and order are those of the whole stream; the remaining events are untouched."""
    append(url, "a", 3)
    send(url, "a")
    append(url, "b", 1)
    with psycopg.connect(url) as connection:
        before = connection.execute("select ctid, xmin, * from eventkit.events where stream = 'order-b'").fetchall()

    assert prune(url, ignored=["totals", "board"]) == 3

    with psycopg.connect(url) as connection:
        done = store.append(connection, order("a"), Placed(9), expected=3)
        stays = connection.execute("select ctid, xmin, * from eventkit.events where stream = 'order-b'").fetchall()
    assert (done.version, before) == (4, stays)


def test_a_reader_of_a_pruned_stream_gets_an_error(url: str) -> None:
    """Never a silent part of the whole; from where it is left, it reads on."""
    append(url, "a", 5)
    send(url, "a", to=3)
    prune(url, ignored=["totals", "board"])

    with psycopg.connect(url) as connection:
        with pytest.raises(StreamPruned, match=r"from version 1 on.*up to version 3"):
            list(store.read_stream(connection, order("a")))
        assert [event.version for event in store.read_stream(connection, order("a"), after=3)] == [4, 5]
        assert [event.version for event in store.read_stream(connection, order("a"), backwards=True)] == [5, 4]
        assert list(store.read_stream(connection, order("none"))) == []


def test_a_stream_that_is_pruned_while_it_is_read_is_an_error(url: str) -> None:
    """Between two pages too."""
    append(url, "a", 6)
    send(url, "a")
    with psycopg.connect(url) as connection:
        reading = iter(store.read_stream(connection, order("a"), batch=2))
        first = [next(reading).version, next(reading).version]
        prune(url, ignored=["totals", "board"])

        with pytest.raises(StreamPruned):
            next(reading)
    assert first == [1, 2]


def test_a_reader_that_starts_after_the_highest_positions_were_pruned_misses_nothing(url: str) -> None:
    """Neither the relay's reader nor a projector's takes max(position) for the last drawn one; nor do the checks."""
    append(url, "a", 50)
    send(url, "a")
    with psycopg.connect(url) as late, psycopg.connect(url, autocommit=True) as reading:
        store.append(late, order("late"), Placed(1))  # open, below the pruned events
        append(url, "b", 50)
        send(url, "b")
        assert prune(url, ignored=["totals", "board"]) == 100
        pending = GapReader(Outbox(reading, "eventkit"))
        pending.start_pending()
        everything = GapReader(EventLog(psycopg.connect(url, autocommit=True), "eventkit"))
        everything.start_after(0)
        assert pending.read() == everything.read() == []
        append(url, "c", 1)
        assert [row[2] for row in pending.read()] == [row[2] for row in everything.read()] == ["order-c"]

        late.commit()

        assert [row[2] for row in pending.read()] == [row[2] for row in everything.read()] == ["order-late"]
        check_session(reading, "eventkit")


def test_a_category_whose_events_are_gone_is_still_known(url: str) -> None:
    """A projector that starts subscribes to its topic."""
    append(url, "a", 2)
    send(url, "a")
    prune(url, ignored=["totals", "board"])

    with psycopg.connect(url) as connection:
        assert list(stored_categories(connection, "eventkit")) == [("order", "shop")]


def test_a_stream_that_is_being_appended_to_is_left_for_the_next_run(url: str) -> None:
    """Nobody waits: neither the append nor the pruning."""
    append(url, "a", 2)
    append(url, "b", 2)
    send(url, "a", "b")
    with psycopg.connect(url) as writer:
        store.append(writer, order("a"), Placed(3))

        assert prune(url, ignored=["totals", "board"]) == 2

    assert prune(url, ignored=["totals", "board"]) == 2


@pytest.mark.parametrize("lacking", ["role", "usage", "rights", "membership"])
def test_without_the_role_the_error_has_the_sql_that_creates_it(database_url: str, lacking: str) -> None:
    """An accident cannot delete events; the error has the statement for an administrator."""
    user = "pruner_" + str(make_url(database_url).database)[-12:]
    statements = {
        "role": "create role eventkit_maintenance nologin",
        "usage": 'grant usage on schema "eventkit" to eventkit_maintenance',
        "rights": 'grant select, delete on "eventkit".events to eventkit_maintenance',
        "membership": f'grant eventkit_maintenance to "{user}"',
    }
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"create role {user} login".encode())
        admin.execute(f"grant usage on schema eventkit to {user}".encode())
        admin.execute(f"grant select, insert, update, delete on all tables in schema eventkit to {user}".encode())
        given = [] if lacking == "role" else [sql for name, sql in statements.items() if name != lacking]
        for statement in given:
            admin.execute(statement.encode())
        append(database_url, "a", 2)
        send(database_url, "a")

        with pytest.raises(MaintenanceDenied) as refused:
            prune(database_url.replace("postgres@", f"{user}@"))
        missing = [statement for statement in statements.values() if statement not in given]
        for statement in missing:
            assert statement in str(refused.value)
            admin.execute(statement.encode())

        assert prune(database_url.replace("postgres@", f"{user}@")) == 2
        for role in (user, "eventkit_maintenance"):
            admin.execute(f"drop owned by {role}".encode())
            admin.execute(f"drop role {role}".encode())


def test_pruned_not_committed(url: str) -> None:
    """Killed within a batch: nothing of it has happened; the next run does it."""
    append(url, "a", 4)
    send(url, "a")

    child = [sys.executable, "-m", "tests.storage.test_pruning", url, "pruned"]
    assert subprocess.run(child, cwd=ROOT, check=False, timeout=60).returncode == -9

    assert there(url) == {"order-a": [3, 4]}  # one batch of two was through
    assert prune(url, ignored=["totals", "board"]) == 2


def test_archived_streams_come_back_as_they_were(url: str, tmp_path: Path) -> None:
    """Closed meanwhile: a reader gets an error, an append is refused; the file is never written over."""
    append(url, "a", 3)
    append(url, "b", 2)
    send(url, "a", "b")
    events = "select * from eventkit.events order by position"
    file = tmp_path / "closed.jsonl"
    with psycopg.connect(url, autocommit=True) as connection:
        before = connection.execute(events).fetchall()
        archive = Archive(connection, "eventkit", actor="ann")

        assert archive.close([order("a"), order("b")], file, ignored=["totals", "board"]) == 5

        assert connection.execute(events).fetchall() == []
        with pytest.raises(StreamPruned):
            list(store.read_stream(connection, order("a")))
        for several in ([order("a")], [order("a"), order("new")]):
            with psycopg.connect(url) as writer, pytest.raises(StreamClosed, match="events restore"):
                store.append_many(writer, [Append(stream, [Placed(1)], expected=ANY) for stream in several])
        append(url, "c", 1)
        send(url, "c")
        with pytest.raises(ArchiveError, match="exists already"):
            archive.close([order("c")], file, ignored=["totals", "board"])

        assert archive.restore(file) == [order("a"), order("b")]
        assert connection.execute(events).fetchall()[:5] == before
        assert store.append(psycopg.connect(url), order("a"), Placed(4)).version == 4


def test_tags_are_pruned_and_archived_with_their_events(url: str, tmp_path: Path) -> None:
    """No tag is left without its event; a restored event has the tags that it had."""
    tagged = QueryItem(["of:a"])
    with psycopg.connect(url, autocommit=True) as connection:
        for stream in ("a", "b"):
            with connection.transaction():
                store.append(connection, order(stream), Placed(1), tags=['of:a, "x" é{', "of:a"])
        send(url, "a", "b")
        project(url, "totals", "b")
        project(url, "board", "b")
        archive = Archive(connection, "eventkit", actor="ann")
        tags = "select * from eventkit.event_tags order by position, tag"
        before = connection.execute(tags).fetchall()

        archive.close([order("a")], tmp_path / "file", ignored=["totals", "board"])
        assert prune(url) == 1
        assert connection.execute(tags).fetchall() == []
        assert store.query(connection, tagged).events == ()
        archive.restore(tmp_path / "file")

        assert connection.execute(tags).fetchall() == before[:2]
        assert [one.stream for one in store.query(connection, tagged)] == [order("a")]


@pytest.mark.parametrize(
    ("sent", "applied", "said"),
    [(2, 3, "1 events of order-a are not sent"), (3, 2, "projection 'board' has not applied order-a")],
)
def test_a_stream_that_somebody_still_needs_is_not_archived(
    url: str, tmp_path: Path, sent: int, applied: int, said: str
) -> None:
    """Unsent or unapplied; nor one that is not there; and no file is left under the name."""
    append(url, "a", 3)
    send(url, "a", to=sent)
    project(url, "totals", "a")
    project(url, "board", "a", to=applied)
    with psycopg.connect(url, autocommit=True) as connection:
        archive = Archive(connection, "eventkit", actor="ann")

        for streams, words in (([order("a")], said), ([order("a"), order("none")], "there is no stream 'order-none'")):
            with pytest.raises(ArchiveError, match=words):
                archive.close(streams, tmp_path / "x")

    assert there(url) == {"order-a": [1, 2, 3]}
    assert not (tmp_path / "x").exists()


def test_archived_not_committed(url: str, tmp_path: Path) -> None:
    """Killed between the file and the commit: both have the events."""
    append(url, "a", 3)
    send(url, "a")

    child = [sys.executable, "-m", "tests.storage.test_pruning", url, str(tmp_path / "a.jsonl")]
    assert subprocess.run(child, cwd=ROOT, check=False, timeout=60).returncode == -9

    assert there(url) == {"order-a": [1, 2, 3]}
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 3


def test_pruning_beside_writers_a_relay_and_projectors_takes_nothing_from_them(url: str) -> None:
    """All at once, on connections of their own: every event that one of them still needs is there at its turn."""
    with ThreadPoolExecutor(3) as threads:
        works = [
            threads.submit(_write, url),
            threads.submit(_follow, url, "totals"),
            threads.submit(_follow, url, "board"),
        ]
        pruned = 0
        while not all(work.done() for work in works):
            pruned += prune(url, batch=7)
        for work in works:
            work.result()  # a reader that missed something has raised

    send(url, *STREAMS)  # a follower also reads events that came after it had sent
    pruned += prune(url)
    assert (pruned, there(url)) == (EVENTS, {})


def _write(url: str) -> None:
    for number in range(EVENTS // 2):
        append(url, STREAMS[number % 3], 2)


def _follow(url: str, name: str) -> None:
    """Apply every message: every event is read before its checkpoint passes it."""
    seen = dict.fromkeys(STREAMS, 0)
    while sum(seen.values()) < EVENTS:
        send(url, *STREAMS)
        for stream in STREAMS:
            with psycopg.connect(url) as connection:
                new = list(store.read_stream(connection, order(stream), after=seen[stream]))
            if new:
                seen[stream] = new[-1].version
                project(url, name, stream, to=seen[stream])


class Interleaving(RuleBasedStateMachine):
    """The appended, sent and applied events of each projection, as a model; pruning against it."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.appended = dict.fromkeys(STREAMS, 0)
        self.sent: dict[str, set[int]] = {stream: set() for stream in STREAMS}
        self.applied = {name: dict.fromkeys(STREAMS, 0) for name in ("totals", "board")}

    @initialize()
    def start(self) -> None:
        """Begin with an empty store."""
        with psycopg.connect(self.url) as connection:
            connection.execute("alter table eventkit.events disable trigger all")
            connection.execute("truncate eventkit.events, eventkit.streams, eventkit.outbox, eventkit.checkpoints")
            connection.execute("alter table eventkit.events enable trigger all")
            connection.execute("alter table eventkit.events enable always trigger events_append_only")

    @rule(stream=st.sampled_from(STREAMS), count=st.integers(1, 3))
    def append(self, stream: str, count: int) -> None:
        """Append."""
        append(self.url, stream, count)
        self.appended[stream] += count

    @rule(stream=st.sampled_from(STREAMS), to=st.integers(1, 9))
    def send(self, stream: str, to: int) -> None:
        """Settle up to a version."""
        send(self.url, stream, to=to)
        self.sent[stream] |= set(range(1, min(to, self.appended[stream]) + 1))

    @rule(name=st.sampled_from(["totals", "board"]), stream=st.sampled_from(STREAMS), count=st.integers(1, 4))
    def apply(self, name: str, stream: str, count: int) -> None:
        """Advance a checkpoint over sent events."""
        here = self.applied[name]
        to = here[stream]
        while to < here[stream] + count and to + 1 in self.sent[stream]:
            to += 1
        if to > here[stream]:
            project(self.url, name, stream, to=to)
            here[stream] = to

    @rule(batch=st.integers(1, 5))
    def prune(self, batch: int) -> None:
        """Prune with batches of any size; every prunable event is gone then."""
        prune(self.url, batch=batch)
        for stream in STREAMS:
            assert there(self.url).get(order(stream), []) == list(
                range(self.free(stream) + 1, self.appended[stream] + 1)
            )

    def free(self, stream: str) -> int:
        """Return up to which version everybody has had a stream."""
        version = min(applied[stream] for applied in self.applied.values())
        return next((v - 1 for v in range(1, version + 1) if v not in self.sent[stream]), version)

    @invariant()
    def nothing_is_gone_that_somebody_needs(self) -> None:
        """Every unsent and every unapplied event is in the store, and so are the later events of its stream."""
        found = there(self.url)
        for stream in STREAMS:
            needed = set(range(self.free(stream) + 1, self.appended[stream] + 1))
            assert needed <= set(found.get(order(stream), []))


def test_no_interleaving_prunes_unsent_or_unprojected_events(url: str) -> None:
    """Of appends, relay steps, projector steps and prunes; and in the end every prunable event is gone."""
    Interleaving.url = url
    quick = settings(
        max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(Interleaving, settings=quick)


def _child(url: str, what: str) -> None:
    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), 9)

    if what == "pruned":
        mark, marked = PruneRun._prune, []

        def second(self: PruneRun, page: object) -> None:
            mark(self, page)  # type: ignore[arg-type]
            marked.append(page)
            if len(marked) == 2:
                die()

        PruneRun._prune = second  # type: ignore[method-assign, assignment]
        prune(url, batch=2, ignored=["totals", "board"])
    with psycopg.connect(url, autocommit=True) as connection:
        sys.modules[Archive.__module__].take_away = die  # type: ignore[attr-defined]
        Archive(connection, "eventkit", actor="ann").close([order("a")], Path(what), ignored=["totals", "board"])


if __name__ == "__main__":
    _child(sys.argv[1], sys.argv[2])
