"""The short form of an inline append, with fence and checkpoints in its statement, has the effect of the long form."""

import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from eventkit import DELETE, Append, EventStore, Inline, QueryItem, SqlProjection, TableProjection
from eventkit.errors import ConcurrencyError, DecisionChanged, EventkitError, ProjectionError
from eventkit.storage.entry import Entry
from eventkit.storage.events import inline_sql
from eventkit.storage.events.digests import Question, ask
from eventkit.storage.events.inline_sql import Target
from eventkit.storage.projections.registry import Live, ProjectionRegistry
from eventkit.storage.projections.swap_generations import replace_generation
from tests.projection.attack import balances
from tests.projection.rebuild.test_rebuild import rebuild
from tests.projection.shop import (
    KNOWN,
    Left,
    Noted,
    Ordered,
    Total,
    apply,
    checkpoints,
    projector,
    rows,
    sent,
    shop,
    totals,
)
from tests.projection.test_inline import engine, notes, rows_of_notes
from tests.waiting import wait_until

SHOP = EventStore(shop, inline=Inline(totals()))
PLAIN = EventStore(shop)
BLOCKED = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
_counter = iter(range(1_000_000))


class LongWay(Inline):
    """Lets the append's statement advance nothing, so that all is applied in the way of a projector."""

    def targets(self, entries: Sequence[Entry]) -> list[Target]:
        """Ask for a version that is never live."""
        return [target._replace(version=-1) for target in super().targets(entries)]


class World(NamedTuple):
    """A way of applying, with streams, a projection and rows of its own."""

    category: str
    projection: TableProjection
    inline: EventStore

    @classmethod
    def of(cls, category: str, way: type[Inline]) -> "World":
        """Make one."""
        projection = TableProjection(category, shop, table=KNOWN, key="customer", categories=[category])

        @projection.on(Ordered)
        def ordered(row: Total, event: Ordered) -> None:
            if event.amount < 0:
                raise ValueError(event.amount)
            row.orders += 1
            row.amount += event.amount

        projection.on(Left)(_delete)
        return cls(category, projection, EventStore(shop, inline=way(projection)))


def _delete(row: Total, event: Left) -> object:
    del row, event
    return DELETE


class Call(NamedTuple):
    """Appends to streams, by their numbers."""

    kind: str
    events: dict[int, list[object]]


customers = st.sampled_from("abc")
events = st.one_of(
    st.builds(Ordered, customers, st.sampled_from([1, 2, 3, -1])), st.builds(Left, customers), st.just(Noted())
)
calls = st.builds(
    Call,
    st.sampled_from(["inline", "inline", "inline", "plain", "again", "tagged", "guarded", "taken back", "projected"]),
    st.dictionaries(st.integers(0, 2), st.lists(events, min_size=1, max_size=3), min_size=1, max_size=3),
)
histories = st.lists(st.tuples(st.booleans(), st.lists(calls, min_size=1, max_size=4)), min_size=1, max_size=5)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=histories)
def test_both_ways_give_the_same_rows_and_checkpoints(url: str, history: list[tuple[bool, list[Call]]]) -> None:
    """For any append: several streams, tags, guards, ids again, savepoints, streams behind, parked or failing."""
    run = next(_counter)
    worlds = [World.of("short", Inline), World.of("long", LongWay)]
    for kept, made in history:
        outcomes = [_transaction(url, world, run, made, kept=kept) for world in worlds]
        assert outcomes[0] == outcomes[1]
        assert _state(url, "short", run) == _state(url, "long", run)


def _transaction(url: str, world: World, run: int, made: list[Call], *, kept: bool) -> list[str]:
    with psycopg.connect(url) as connection:
        outcomes = [_outcome(partial(_call, connection, world, run, call)) for call in made]
        if not kept:
            connection.rollback()
    if kept and any(call.kind == "projected" for call in made):
        for number in range(3):
            apply(url, sent(url, _stream(world, run, number)), projection=world.projection)
    return outcomes


def _outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except (ValueError, EventkitError) as error:
        return type(error).__name__
    return "done"


def _call(connection: psycopg.Connection[Any], world: World, run: int, call: Call) -> None:
    store = PLAIN if call.kind == "plain" else world.inline
    appends = [Append(_stream(world, run, n), [_of(world, run, e) for e in given]) for n, given in call.events.items()]
    guards = {_stream(world, run, n): 0 for n in range(3) if n not in call.events} if call.kind == "guarded" else None
    if call.kind == "again":
        ids = [[uuid.uuid4() for _ in each.events] for each in appends]
        again = [Append(each.stream, each.events, ids=given) for each, given in zip(appends, ids, strict=True)]
        store.append_many(connection, again)
        store.append_many(connection, again)
    elif call.kind == "tagged":
        for each in appends:
            decision = store.query(connection, QueryItem([f"{each.stream}:x"]))
            store.append(connection, each.stream, *each.events, tags=[f"{each.stream}:x"], unless_changed=decision)
    elif len(appends) == 1:
        with connection.transaction(force_rollback=call.kind == "taken back"):
            store.append(connection, appends[0].stream, *appends[0].events, guards=guards)
    else:
        with connection.transaction(force_rollback=call.kind == "taken back"):
            store.append_many(connection, appends, guards=guards)


def _of(world: World, run: int, event: object) -> object:
    if isinstance(event, Ordered):
        return Ordered(f"{world.category} {run} {event.customer}", event.amount)
    return Left(f"{world.category} {run} {event.customer}") if isinstance(event, Left) else event


def _stream(world: World, run: int, number: int) -> str:
    return f"{world.category}-{run}.{number}"


def _state(url: str, category: str, run: int) -> tuple[list[Any], list[Any]]:
    """Return rows and checkpoints without values that differ between worlds; ids and digests as right or wrong."""
    folded = rows(url, f"select * from totals where customer like '{category} {run} %' order by 1")
    found = rows(
        url,
        f"""select stream, k.version, parked, event_id is not distinct from e.id, digest from eventkit.checkpoints k
              left join eventkit.events e using (stream, version) where stream like '{category}-{run}.%' order by 1""",
    )
    with psycopg.connect(url) as connection:
        digests = [ask(connection, "eventkit", [Question(row[0], row[1])])[0].digest for row in found]
    at = [(row[0].partition("-")[2], *row[1:4], row[4] == digest) for row, digest in zip(found, digests, strict=True)]
    assert all(row[3] and row[4] for row in at), at
    return [row[1:] for row in folded], at


def test_one_event_is_five_statements_each_planned_once(url: str) -> None:
    """No statement is planned again for each call, which would take longer than all of them."""
    store = EventStore(shop, inline=Inline(balances(KNOWN)))
    with psycopg.connect(url) as connection:
        for _ in range(30):
            store.append(connection, "order-1", Ordered("ann", 1))
        found = connection.execute("select statement, generic_plans > 0 from pg_prepared_statements").fetchall()

    names = {text.split()[0] + " " + text.split()[1]: planned for text, planned in found}
    assert list(names.values()) == [True] * 5, names


@pytest.mark.parametrize("events", [1, 2])
@pytest.mark.parametrize("stream", ["order-1", "order-2"])
def test_an_append_that_waits_for_a_swap_applies_to_the_generation_that_comes(
    url: str, stream: str, events: int
) -> None:
    """It uses nothing of the projection that it saw before it waited; its stream has a checkpoint, or is new."""
    fences = ProjectionRegistry("eventkit")
    with psycopg.connect(url) as writing, psycopg.connect(url) as swapping:
        SHOP.append(writing, "order-1", Ordered("ann", 1))
        writing.commit()
        live = fences.take(swapping, "totals")
        assert live is not None
        new = live.generation + 7
        replace_generation(swapping, "eventkit", "totals", Live(new, 1, 0), tables=["public.totals"], categories=[])
        swapping.execute("update eventkit.checkpoints set generation = %s", [new])
        appending = threading.Thread(target=SHOP.append, args=(writing, stream, *[Ordered("ann", 1)] * events))
        appending.start()
        wait_until(lambda: rows(url, BLOCKED) == [(1,)], timeout=60)
        swapping.commit()
        appending.join()

    at = dict(rows(url, f"select stream, version from eventkit.checkpoints where generation = {new}"))
    assert at == {"order-1": 1} | {stream: events + (stream == "order-1")}
    assert rows(url) == [("ann", 1 + events, 1 + events)]


def test_a_fence_that_is_not_locked_is_caught(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generation as the statement's snapshot has it: the checkpoint goes to one that is gone."""
    unlocked = inline_sql._FENCE.replace(" for key share of p", "")
    assert unlocked != inline_sql._FENCE
    monkeypatch.setattr(inline_sql, "_FENCE", unlocked)
    monkeypatch.setitem(globals(), "SHOP", EventStore(shop, inline=Inline(totals())))

    with pytest.raises(AssertionError):
        test_an_append_that_waits_for_a_swap_applies_to_the_generation_that_comes(url, "order-2", 1)


def test_inline_writers_beside_rebuilds_lose_and_repeat_nothing(url: str) -> None:
    """Rows of their own and shared ones, some taken back, while the read model is rebuilt and swapped three times."""
    store, done = EventStore(shop, inline=Inline(balances())), threading.Event()
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            with psycopg.connect(url) as connection:
                for turn in range(100_000):
                    if done.is_set() and turn > 20:
                        return
                    with connection.transaction(force_rollback=turn % 5 == 4):
                        store.append(connection, f"order-{number}", Ordered("all", 1))
                        several = [Append(f"order-{number}.{n}", [Ordered(f"c{number}", n + 1)] * 2) for n in range(2)]
                        store.append_many(connection, several)
                    connection.commit()
        except BaseException as error:  # noqa: BLE001 raised again below
            errors.append(error)

    write_once = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    with psycopg.connect(url) as connection:
        store.append(connection, "order-9", Ordered("all", 1))
    for writer in write_once:
        writer.start()
    for _ in range(3):
        rebuild(url, balances())
    done.set()
    for writer in write_once:
        writer.join()
    if errors:
        raise errors[0]

    folded = rows(
        url, "select data->>'customer', sum((data->>'amount')::int) from eventkit.events group by 1 order by 1"
    )
    assert rows(url, "select customer, amount from totals order by 1") == folded
    wanted = {stream: (version, False) for stream, version in rows(url, "select stream, version from eventkit.streams")}
    assert checkpoints(url) == wanted


def test_guards_and_conflicts_leave_the_read_model_as_it_is(url: str) -> None:
    """A guard that does not hold, a version that is not there and a decision that has changed write nothing."""
    with psycopg.connect(url) as connection:
        SHOP.append(connection, "order-1", Ordered("ann", 1), tags=["c:1"])
        decision = SHOP.query(connection, QueryItem(["c:1"]))
        SHOP.append(connection, "order-2", Ordered("ann", 2), guards={"order-1": 1}, tags=["c:1"])
        with pytest.raises(ConcurrencyError):
            SHOP.append(connection, "order-3", Ordered("ann", 4), guards={"order-1": 2})
        with pytest.raises(ConcurrencyError):
            SHOP.append(connection, "order-1", Ordered("ann", 4), expected=7)
        with pytest.raises(DecisionChanged):
            SHOP.append(connection, "order-1", Ordered("ann", 4), unless_changed=decision)
        SHOP.append(connection, "order-1", Ordered("ann", 8), expected=1, unless_changed=SHOP.query(
            connection, QueryItem(["c:1"])))  # fmt: skip

    assert rows(url) == [("ann", 3, 11)]
    assert checkpoints(url) == {"order-1": (2, False), "order-2": (1, False)}


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_several_projections_follow_one_append_in_any_isolation(url: str, isolation: str) -> None:
    """Of both kinds, of other categories, on a Session; each has its rows and its checkpoints."""
    rows_of_notes(url)
    other = SqlProjection("other", shop, categories=["note"], tables=["notes"])

    @other.on(Noted)
    def noted(connection: sa.Connection, event: Noted) -> None:
        del event
        connection.execute(sa.text("insert into notes values ('other')"))

    store = EventStore(shop, inline=Inline(totals(), notes(), other))
    with engine(url) as made, Session(made.execution_options(isolation_level=isolation)) as session:
        for turn in range(8):
            store.append(session, "order-1", Noted(str(turn)), Ordered("ann", 1))
            store.append_many(session, [Append("note-1", [Noted("x")]), Append("order-2", [Ordered("bob", 1)])])
            session.commit()

    assert rows(url) == [("ann", 8, 8), ("bob", 8, 8)]
    assert rows(url, "select count(*), count(*) filter (where text = 'other') from notes") == [(24, 8)]
    found = "select name, stream, version from eventkit.checkpoints join eventkit.projections using (generation)"
    assert sorted(rows(url, found)) == [
        *[(name, stream, version) for name in ("notes",) for stream, version in STREAMS],
        ("other", "note-1", 8),
        *[("totals", stream, version) for stream, version in STREAMS],
    ]


STREAMS = [("note-1", 8), ("order-1", 16), ("order-2", 8)]


@pytest.mark.parametrize("before", [False, True])
def test_a_handler_that_fails_leaves_the_transaction_usable_whether_it_had_begun_or_not(
    url: str,
    before: bool,  # noqa: FBT001 a column
) -> None:
    """The caller's earlier statements stay, and its next ones are in a transaction."""
    with engine(url) as made, Session(made) as session:
        if before:
            session.execute(sa.text("insert into totals values ('caller', 0, 0)"))
        with pytest.raises(ValueError, match="eve ordered for -1"):
            SHOP.append(session, "order-1", Ordered("eve", -1))
        SHOP.append(session, "order-2", Ordered("ann", 1))
        with pytest.raises(ValueError, match="eve ordered for -1"):
            SHOP.append(session, "order-2", Ordered("eve", -1))
        session.commit()

    assert rows(url) == [("ann", 1, 1), *[("caller", 0, 0)] * before]
    assert (checkpoints(url), sent(url, "order-1")) == ({"order-2": (1, False)}, [])


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
@pytest.mark.parametrize("first", ["", "select 1"], ids=["at once", "after another statement"])
@pytest.mark.parametrize("fault", ["select from nothing", "rollback", "commit"])
def test_a_handler_that_ends_the_transaction_or_leaves_it_aborted_fails_the_append(
    url: str, fault: str, first: str, zone: str
) -> None:
    """PostgreSQL would answer the caller's commit with a rollback, and no error."""
    ending = SqlProjection("ending", shop)

    @ending.on(Noted)
    def noted(connection: sa.Connection, event: Noted) -> None:
        del event
        with suppress(sa.exc.ProgrammingError):
            connection.execute(sa.text(fault))

    with engine(url) as made, Session(made) as session:
        session.execute(sa.text(f"set time zone '{zone}'"))
        session.commit()
        if first:
            session.execute(sa.text(first))
        with pytest.raises(ProjectionError, match="left it aborted"):
            EventStore(shop, inline=Inline(ending)).append(session, "note-1", Noted())
        if fault in {"rollback", "commit"}:
            session.rollback()  # after an aborted statement the append has done it
        PLAIN.append(session, "note-2", Noted())
        session.commit()

    assert len(sent(url, "note-2")) == 1
    assert fault == "commit" or sent(url, "note-1") == []


@pytest.mark.parametrize("before", [False, True])
def test_a_decision_that_lost_keeps_its_tags_locked(url: str, before: bool) -> None:  # noqa: FBT001 a column
    """As without inline projections: asked again in the same transaction, it cannot lose twice."""
    with psycopg.connect(url) as connection, psycopg.connect(url) as other:
        decision = SHOP.query(connection, QueryItem(["c:1"]))
        SHOP.append(other, "order-1", Ordered("ann", 1), tags=["c:1"])
        other.commit()
        if not before:
            connection.commit()
        with pytest.raises(DecisionChanged):
            SHOP.append(connection, "order-2", Ordered("bob", 1), unless_changed=decision)
        other.execute("set lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            SHOP.append(other, "order-1", Ordered("ann", 1), tags=["c:1"])
        other.rollback()
        again = SHOP.query(connection, QueryItem(["c:1"]))
        SHOP.append(connection, "order-2", Ordered("bob", 1), unless_changed=again)

    assert rows(url) == [("ann", 1, 1), ("bob", 1, 1)]


def test_two_projections_of_one_name_are_refused() -> None:
    """They would share their checkpoints."""
    with pytest.raises(ProjectionError, match="two projections of one name"):
        Inline(totals(), totals())


def test_a_projector_beside_inline_writers_finds_only_duplicates(url: str) -> None:
    """The append's statement advances exactly the checkpoints that a projector would."""
    with psycopg.connect(url) as connection:
        for turn in range(12):
            SHOP.append(connection, f"order-{turn % 3}", *[Ordered("ann", 1)] * (1 + turn % 2))
    with projector(url) as running:
        for number in range(3):
            running.apply(sent(url, f"order-{number}"))

    assert running.counters.applied == 0
    assert rows(url) == [("ann", 18, 18)]
