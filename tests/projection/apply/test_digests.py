"""A checkpoint knows which events it was made of, and the store is asked whether it has them."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid1, uuid4

import psycopg
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from eventkit.cli import main
from eventkit.config import Settings
from eventkit.domain.message import Message
from eventkit.errors import EventkitError, ProjectionError
from eventkit.messaging import Handlers
from eventkit.projection.batch import Run, gather, spans
from eventkit.projection.define.table import TableProjection
from eventkit.projection.inline import Inline
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from eventkit.projection.run.projector import Projector
from eventkit.storage.dead_letters.actions import LetterActions
from eventkit.storage.events.digests import PRIME, Question, Stored, ask, part_of
from eventkit.storage.events.event_store import NO_STREAM, EventStore
from eventkit.storage.events.stream_history import OwnHistory
from eventkit.storage.retention.archive import Archive
from tests.projection.recorded import record
from tests.projection.shop import (
    TOTALS,
    Noted,
    Ordered,
    Total,
    apply,
    checkpoints,
    letters,
    message,
    orders,
    projector,
    rows,
    sent,
    shop,
    store,
    totals,
)
from tests.storage.pruned import maintenance_role, prune

OTHER = UUID(int=7)


@pytest.mark.parametrize(
    "odd",
    ["12345678-1234-5678-1234-56781234  78", "12345678-1234-5678-1234-567812----78", "x" * 36, "", "1\t" * 18,
     "12345678-1234-5678-1234-5678123\u066345", "12345678-1234-5678-1234-567812345678\n",
     "12345678-1234-5678-1234-56781234567", f"{OTHER},{OTHER}", ",2345678-1234-5678-1234-567812345678"],
)  # fmt: skip
def test_an_odd_id_changes_no_other_events_id(odd: str) -> None:
    """The ids of a batch are parsed together: one that looks like a UUID and is none must not shift the others."""
    ids = [odd, str(OTHER), str(uuid4())]
    messages = [message(f"order-{number}", 1, Ordered("c", 1), ce_id=each) for number, each in enumerate(ids)]

    runs = gather(messages).runs

    assert spans(runs) == [run.slow_span() for run in runs]


def digest(url: str, stream: str = "order-1") -> int | None:
    """Return a checkpoint's digest."""
    found: list[tuple[int | None]] = rows(
        url,
        "select digest from eventkit.checkpoints join eventkit.projections using (generation)"
        f" where stream = '{stream}'",
    )
    return found[0][0]


def of(messages: Sequence[Message]) -> int:
    """Return the digest by its definition."""
    found = (dict(item.headers) for item in messages)
    return sum(UUID(str(head["ce_id"])).int << 55 * int(head["ce_streamversion"]) for head in found) % PRIME


def verify(url: str, *arguments: str) -> Result:
    """Run `eventkit projection verify`."""
    return CliRunner().invoke(main, ["projection", "verify", *arguments], env={"EVENTKIT_DATABASE_URL": url})


IDS = st.one_of(
    st.uuids(), st.builds(uuid1), st.builds(uuid4), st.text(max_size=40), st.text("0123456789abcdef-_+ ", max_size=40)
)


@given(st.lists(IDS, min_size=1), st.data())
def test_a_runs_digest_is_the_sum_of_its_events_however_it_is_cut(ids: list[UUID | str], data: st.DataObject) -> None:
    """UUIDs take a short way, other producers' ids the long one, and both come to the same."""
    cut = data.draw(st.integers(0, len(ids)))
    items = [message("order-1", n, Noted(), ce_id=str(event_id)) for n, event_id in enumerate(ids, start=5)]
    (run,) = gather(items).runs
    parts = [gather(part).runs[0] for part in (items[:cut], items[cut:]) if part]

    expected = sum(part_of(arrival.uuid, arrival.version) for arrival in run.arrivals) % PRIME

    assert (run.span().digest, run.span().id) == (expected, run.arrivals[-1].uuid.hex)
    assert sum(part.span().digest or 0 for part in parts) % PRIME == expected


def test_python_and_postgresql_come_to_the_same_digest(url: str) -> None:
    """For any ids: the highest, the lowest, by time, by chance."""
    ids = [UUID(int=2**128 - 1), UUID(int=0), uuid1(), *[uuid4() for _ in range(200)]]
    messages = [message("order-1", n, Noted(), event_id=event_id) for n, event_id in enumerate(ids, start=1)]
    store(url, messages)

    with psycopg.connect(url) as connection:
        (stored,) = ask(connection, "eventkit", [Question("order-1", len(ids), 2)])

    assert (stored.digest, stored.highest, stored.id) == (of(messages), len(ids), UUID(int=0))


def by_batches(url: str) -> None:
    """One event at a time."""
    for version in range(1, 6):
        apply(url, orders("order-1", 1, first=version))


def over_a_gap(url: str) -> None:
    """The transport has lost events."""
    apply(url, orders("order-1", 1))
    apply(url, orders("order-1", 2, first=4))  # 2 and 3 come from the store


def parked_and_redriven(url: str) -> None:
    """A handler fails, and is repaired."""
    failing = TableProjection("totals", shop, table=TOTALS, key="customer")

    @failing.on(Ordered)
    def fail(row: Total, event: Ordered) -> None:
        raise ValueError(f"{row}, {event}")

    apply(url, orders("order-1", 5), projection=failing)
    with projector(url) as running:
        assert running.redrives.retry("order-1")


def by_a_rebuild(url: str) -> None:
    """A new generation is built from the store."""
    apply(url, orders("order-1", 2))
    RebuildRun(totals(), Settings(database_url=url), RebuildPlan()).run()


WAYS = [by_batches, over_a_gap, parked_and_redriven, by_a_rebuild]


@pytest.mark.parametrize("way", WAYS)
def test_the_digest_is_that_of_the_applied_events_on_every_way(url: str, way: Callable[[str], None]) -> None:
    """Batches, repairs, letters and rebuilds add up to the store's own."""
    record(url, orders("order-1", 5))

    way(url)

    assert checkpoints(url) == {"order-1": (5, False)}
    assert digest(url) == of(orders("order-1", 5))
    assert verify(url).exit_code == 0


def restored(url: str, *, to: int, then: int) -> list[Message]:
    """Let the store lose the events above a version, and record other events in their place; return those."""
    other = [message("order-1", v, Ordered("ann", 100), event_id=uuid4()) for v in range(to + 1, to + then + 1)]
    with psycopg.connect(url) as connection:
        connection.execute("alter table eventkit.events disable trigger user")
        connection.execute("delete from eventkit.events where version > %s", (to,))
        connection.execute("alter table eventkit.events enable always trigger events_append_only")
    store(url, other)
    return other


@pytest.mark.parametrize("then", [1, 2, 3])
def test_another_event_below_the_checkpoint_is_a_fork(url: str, then: int) -> None:
    """The store was restored to version 2 and gave version 3 again, while the read model has the old 3 and 4."""
    store(url, orders("order-1", 4))
    apply(url, orders("order-1", 4))
    genuine = restored(url, to=2, then=then)

    apply(url, genuine[:1])

    assert letters(url) == [("order-1", 3, "fork")]
    assert checkpoints(url) == {"order-1": (4, True)}
    ((error,),) = rows(url, "select error from eventkit.dead_letters")
    assert ("the store has versions up to 3 only" if then == 1 else "the store has other events") in error
    assert verify(url).exit_code == 1


def test_a_forged_message_does_not_hide_the_genuine_ones(url: str) -> None:
    """Two tombstones that nobody recorded took the places of 2 and 3: when those come, their stream is parked."""
    store(url, orders("order-1", 3))
    forged = [message("order-1", v, Noted(), event_id=uuid4(), ce_type="eventkit.tombstone") for v in (2, 3)]
    apply(url, [*orders("order-1", 1), *forged])

    apply(url, orders("order-1", 1, first=2))

    assert letters(url) == [("order-1", 2, "fork")]


def test_a_fork_stays_until_an_operator_goes_past_it(url: str) -> None:
    """A redrive compares again; a discard removes the letters, and the stream continues from its checkpoint."""
    store(url, orders("order-1", 4))
    apply(url, orders("order-1", 4))
    genuine = restored(url, to=2, then=3)
    with projector(url) as running:
        running.apply(genuine)
        assert not running.redrives.retry("order-1")
        assert letters(url) == [("order-1", 3, "fork"), ("order-1", 4, "behind"), ("order-1", 5, "behind")]

    ids = [number for (number,) in rows(url, "select id from eventkit.dead_letters order by version limit 2")]
    with psycopg.connect(url, autocommit=True) as connection:
        LetterActions(connection, "eventkit", actor="ann").discard(_by(url), "order-1", ids)
    with projector(url) as running:
        running.redrives.serve()

    assert (letters(url), checkpoints(url)) == ([], {"order-1": (5, False)})


def _by(url: str) -> str:
    return str(rows(url, "select parked_by from eventkit.dead_letters")[0][0])


def test_a_parked_stream_keeps_a_fork_too(url: str) -> None:
    """Nothing that comes while a stream is parked is taken for a duplicate by its version alone."""
    store(url, orders("order-1", 4))
    apply(url, [*orders("order-1", 4), message("order-1", 5, Ordered("ann", -1))])
    genuine = restored(url, to=2, then=1)

    apply(url, genuine)

    assert ("order-1", 3, "fork") in letters(url)


@pytest.mark.parametrize("case", ["no store", "pruned", "of another store"])
def test_a_message_that_cannot_be_compared_is_counted_apart(url: str, case: str) -> None:
    """It is neither a known duplicate nor a known fork, and parks nothing."""
    apply(url, orders("order-1", 4))
    if case == "pruned":
        with psycopg.connect(url) as connection:
            connection.execute("insert into eventkit.streams (stream, version, pruned_to) values ('order-1', 5, 5)")
    if case == "of another store":
        store(url, [message("order-1", v, Noted(), event_id=uuid4()) for v in range(1, 9)])

    done = apply(url, orders("order-1", 2, first=2))

    assert (done.counters.unknown, done.counters.duplicates) == (2, 0)
    assert letters(url) == []


def test_a_redelivery_is_a_duplicate_without_asking_the_store(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process remembers the ids that it applied last; another one asks once for all streams of a batch."""
    batch = [item for n in range(50) for item in orders(f"order-{n}", 3)]
    store(url, batch)
    asked: list[int] = []
    genuine = OwnHistory.ask

    def counted(self: OwnHistory, questions: Sequence[Question]) -> list[Stored]:
        asked.append(len(questions))
        return genuine(self, questions)

    monkeypatch.setattr(OwnHistory, "ask", counted)

    with projector(url) as running:
        running.apply(batch)
        running.apply([item for item in batch if not item.key.endswith("7")][::3])
        assert (asked, running.counters.unknown) == ([], 0)
    again = _again(url, batch)

    assert asked == [50]
    assert (again.counters.duplicates, again.counters.unknown) == (100, 0)


def _again(url: str, batch: list[Message]) -> Projector:
    firsts = [item for item in batch if dict(item.headers)["ce_streamversion"] != "3"]
    with projector(url) as running:
        running.apply(firsts)
    return running


def test_events_that_were_never_seen_leave_the_digest_unknown(url: str) -> None:
    """A gap that an operator gave up: the applied events cannot be compared any more, and the report says so."""
    apply(url, orders("order-1", 1), orders("order-1", 1, first=3))
    with psycopg.connect(url, autocommit=True) as connection:
        ids = [number for (number,) in connection.execute("select id from eventkit.dead_letters").fetchall()]
        LetterActions(connection, "eventkit", actor="ann").discard(_by(url), "order-1", ids)
    store(url, orders("order-1", 3))

    done = verify(url, "--json")

    assert (checkpoints(url), digest(url)) == ({"order-1": (3, False)}, None)
    assert done.exit_code == 3
    assert json.loads(done.stdout)[0]["not_compared"] == 1


def test_pruning_archiving_and_restoring_keep_streams_comparable(url: str, tmp_path: Path) -> None:
    """The digest of events that have left the store stays with the stream."""
    genuine = EventStore(shop)
    with psycopg.connect(url) as connection:
        for n in range(3):
            genuine.append(connection, f"order-{n}", *[Ordered("ann", 1)] * 6)
        connection.execute("delete from eventkit.outbox")
    apply(url, [item for n in range(3) for item in sent(url, f"order-{n}")[: 4 if n else 6]])
    with maintenance_role(url), psycopg.connect(url, autocommit=True) as connection:
        assert verify(url).exit_code == 0
        assert prune(url, batch=3) == 14
        assert verify(url).exit_code == 0
        apply(url, sent(url, "order-1"), sent(url, "order-2"))
        archive = Archive(connection, "eventkit", actor="ann")
        archive.close(["order-1", "order-2"], tmp_path / "closed.jsonl")
        assert verify(url).exit_code == 0
        archive.restore(tmp_path / "closed.jsonl")

    done = verify(url, "--json")

    assert (done.exit_code, json.loads(done.stdout)[0]["same"]) == (0, 3)


def test_verify_names_each_difference(url: str) -> None:
    """One line a stream, and an exit code for scripts; a store that has none of the streams compares nothing."""
    apply(url, [item for n in range(3) for item in orders(f"order-{n}", 3)])
    assert verify(url).exit_code == 3
    store(url, [item for n in (0, 2) for item in orders(f"order-{n}", 3)])
    store(url, [message("order-1", v, Noted(), event_id=OTHER if v == 2 else None) for v in (1, 2, 3)])

    done = verify(url)

    assert done.exit_code == 1
    assert "totals: 2 streams are as the store has them, 1 are others\n" in done.output
    assert "order-1: the store has other events up to version 3 than those that are applied" in done.output
    assert isinstance(verify(url, "nobody").exception, EventkitError | SystemExit)


@pytest.mark.parametrize("categories", [[], ["order"]], ids=["all categories", "its own"])
def test_a_stream_that_was_never_sent_is_missing(url: str, categories: Sequence[str]) -> None:
    """No digest is wrong, and the read model lacks whole streams: counted, the first ones named, exit code 1."""
    reading = totals(categories=categories)
    applied = [orders(f"order-{n}", 2) for n in range(3)]
    record(url, *applied, *[orders(f"order-lost-{n:03}", 2) for n in range(120)])
    apply(url, *applied, projection=reading)

    done, found = verify(url, "--wait", "0s"), json.loads(verify(url, "--wait", "0s", "--json").stdout)[0]

    assert done.exit_code == 1
    assert (
        "totals: 3 streams are as the store has them, 0 are others\n  120 streams of the store have no" in done.output
    )
    assert "\n  order-lost-099\n  and 20 more\n" in done.output
    assert (found["missing"], len(found["missing_streams"]), found["different"]) == (120, 100, 0)


def _unhandled(url: str) -> None:
    """Of its category, but none of its types: passed, with a checkpoint."""
    record(url, [message("order-2", 1, Noted())])
    apply(url, [message("order-2", 1, Noted())])


def _another_category(url: str) -> None:
    """The projection has no handler for its types, and no transport carries it."""
    record(url, [message("note-1", 1, Noted())])


def _guarded(url: str) -> None:
    """An append was guarded by the stream, which has no event."""
    with psycopg.connect(url) as connection:
        connection.execute("insert into eventkit.streams (stream, version) values ('order-2', 0)")


def _pruned(url: str) -> None:
    """No rebuild can have its events."""
    with psycopg.connect(url) as connection:
        connection.execute("insert into eventkit.streams (stream, version, pruned_to) values ('order-2', 5, 5)")


def _parked(url: str) -> None:
    """Its first event is a dead letter."""
    record(url, [message("order-2", 1, Ordered("ann", -1))])
    apply(url, [message("order-2", 1, Ordered("ann", -1))])


@pytest.mark.parametrize("case", [_unhandled, _another_category, _guarded, _pruned, _parked])
def test_a_stream_that_has_its_reason_is_not_missing(url: str, case: Callable[[str], None]) -> None:
    """It has a checkpoint, or no event that the projection reads."""
    record(url, orders("order-1", 3))
    apply(url, orders("order-1", 3))

    case(url)

    done = verify(url, "--wait", "0s", "--json")
    assert (done.exit_code, json.loads(done.stdout)[0]["missing"]) == (0, 0), done.output


def test_a_projection_that_was_never_sent_a_category_misses_its_streams(url: str) -> None:
    """It reads all categories, and has a checkpoint in none of this one: its handlers say that it reads them."""
    record(url, orders("order-1", 1), orders("sale-1", 1))

    apply(url, orders("order-1", 1))

    found = json.loads(verify(url, "--wait", "0s", "--json").stdout)[0]
    assert found["missing_streams"] == ["sale-1"]


def test_handlers_that_began_at_the_newest_event_miss_no_stream(url: str) -> None:
    """The earlier streams were never sent to them, by intent, and no rebuild could do what is done once."""
    mails = Handlers("mails", shop, categories=["order"])
    mails.on(Noted)(lambda _transaction, _event, _envelope: None)
    record(url, orders("order-1", 2), [message("order-2", 1, Noted())])

    apply(url, [message("order-2", 1, Noted())], projection=mails)

    done = verify(url, "--wait", "0s", "--json")
    assert (done.exit_code, json.loads(done.stdout)[0]["missing"]) == (0, 0), done.output


def test_a_stream_that_is_on_its_way_is_waited_for(url: str) -> None:
    """Its events come while `verify` looks: it is not missing."""
    record(url, orders("order-1", 1), orders("order-2", 1))
    apply(url, orders("order-1", 1))
    with ThreadPoolExecutor(1) as other:
        looking = other.submit(verify, url, "--wait", "90s", "--json")
        apply(url, orders("order-2", 1))

        done = looking.result(120)

    assert (done.exit_code, json.loads(done.stdout)[0]["missing"]) == (0, 0), done.output


def test_an_inline_projection_refuses_a_store_that_was_restored(url: str) -> None:
    """The append would be version 3, and the read model has versions 3 and 4 already."""
    inline = EventStore(shop, inline=Inline(totals()))
    with psycopg.connect(url) as connection:
        inline.append(connection, "order-1", *[Ordered("ann", 1)] * 4)
    restored(url, to=2, then=0)
    with psycopg.connect(url) as connection:
        connection.execute("update eventkit.streams set version = 2")
        connection.commit()

        with pytest.raises(ProjectionError, match=r"other events of order-1: the store has versions up to 3"):
            inline.append(connection, "order-1", Ordered("ann", 100))


def test_an_append_that_is_repeated_with_its_ids_is_no_fork(url: str) -> None:
    """It was applied with the first append."""
    inline = EventStore(shop, inline=Inline(totals()))
    ids = [uuid4()]
    with psycopg.connect(url) as connection:
        inline.append(connection, "order-1", Ordered("ann", 1), expected=NO_STREAM, ids=ids)
        inline.append(connection, "order-1", Ordered("ann", 1))
        inline.append(connection, "order-1", Ordered("ann", 1), expected=NO_STREAM, ids=ids)

    assert rows(url) == [("ann", 2, 2)]


def test_a_run_without_events_has_nothing_to_add() -> None:
    """A read of a parked stream brings none."""
    assert Run("order-1", []).ids == b""
