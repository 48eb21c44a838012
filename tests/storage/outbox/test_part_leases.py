"""The leases of the relay's parts: who is alive, who holds what, whose late writes are refused; and their number."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from eventkit.errors import ConfigurationError, Deposed, RelayRunning
from eventkit.storage.db.connection import connect
from eventkit.storage.outbox import leases, part_count
from eventkit.storage.outbox.gap_reader import GapReader
from eventkit.storage.outbox.outbox import READING, Outbox, Scope
from eventkit.storage.outbox.parking import RelayParking
from eventkit.storage.outbox.part_count import change_part_count, read_part_count
from eventkit.storage.outbox.part_leases import PartLeases, Parts, lease_rows
from eventkit.storage.outbox.settlement import Settlement
from tests.relay.conftest import append
from tests.waiting import wait_until

Session = psycopg.Connection[Any]
Join = Callable[[str], PartLeases]


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    """An operator's session."""
    with connect(database_url, name="operator", autocommit=True) as opened:
        yield opened


@pytest.fixture
def join(database_url: str) -> Iterator[Join]:
    """Join relay processes; their sessions end with the test."""
    with ExitStack() as stack:

        def joined(owner: str) -> PartLeases:
            opened = connect(database_url, name=f"relay {owner}", autocommit=True, options=READING)
            stack.callback(opened.close)
            process = PartLeases(opened, "eventkit", owner=owner)
            process.join()
            return process

        yield joined


def take(process: PartLeases, *parts: int) -> Parts:
    """Let a process take parts."""
    taken = process.take(parts, process.look())
    assert set(taken) == set(parts)
    return Parts(taken, process.of)


def test_a_process_sees_who_is_alive_and_who_holds_each_part(session: Session, join: Join) -> None:
    """In one snapshot: the processes by their numbers, the holder of each part, free parts."""
    change_part_count(session, "eventkit", 3, actor="ann")
    one, two = join("one"), join("two")
    take(one, 0)
    take(two, 2)

    standing = one.look()

    assert standing.members == sorted([one.number, two.number])
    assert standing.holders == {0: one.number, 1: None, 2: two.number}


@pytest.mark.parametrize("end", ["killed", "left", "expired", "not renewed"])
def test_the_parts_of_a_process_that_has_ended_are_free(
    session: Session, join: Join, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed: its locks are gone. Hung: its rows expire, or stay as they are while the database's clock jumps."""
    one, two = join("one"), join("two")
    held = take(one, 0)
    if end == "killed":
        one._connection.close()
    elif end == "left":
        one.leave(held)
    elif end == "expired":
        session.execute("update eventkit.leases set expires_at = clock_timestamp() where owner = 'one'")
    else:
        session.execute("update eventkit.leases set expires_at = clock_timestamp() + interval '1 h'")
        two.look()
        monkeypatch.setattr(leases, "SECONDS", -1.0)  # all of it has passed since the look before
        two._seen.pop(f"relay process {two.number}")

    wait_until(lambda: two.look().holders == {0: None}, what="a free part")

    assert one.number not in two.look().members
    assert take(two, 0).epochs == {0: 2}


def test_one_of_two_processes_that_take_a_part_gets_it(join: Join) -> None:
    """Both have seen it free; the second one gets nothing, and is not blocked."""
    one, two = join("one"), join("two")
    standing = two.look()
    take(one, 0)

    assert two.take([0], standing) == {}
    assert two.look().holders == {0: one.number}


def test_a_process_whose_part_was_taken_cannot_renew(session: Session, join: Join) -> None:
    """Its renewal says how many leases it has lost."""
    one, two = join("one"), join("two")
    held = take(one, 0)
    one.renew(held)
    session.execute("update eventkit.leases set expires_at = clock_timestamp() where name = 'relay 0/1'")
    take(two, 0)

    with pytest.raises(Deposed, match="1 of the leases"):
        one.renew(held)


def test_a_released_part_is_taken_by_another_while_its_holder_lives(join: Join) -> None:
    """Also a second time: the lock of an old epoch is released with the part."""
    one, two = join("one"), join("two")
    for epoch in (1, 3):
        held = take(one, 0)
        assert held.epochs == {0: epoch}
        one.release(held)
        two.release(take(two, 0))


def test_a_settlement_checks_the_leases_that_its_positions_belong_to(
    session: Session, join: Join, database_url: str
) -> None:
    """A lost part does not keep the others from being settled; its own positions are refused, all or nothing."""
    change_part_count(session, "eventkit", 4, actor="ann")
    one, two = join("one"), join("two")
    held = take(one, 0, 1, 2)
    with psycopg.connect(database_url) as writer:
        positions = [append(writer, f"order-{shard}", shard=shard) for shard in range(8)]
    settlement = Settlement(session, "eventkit", parts=held)
    session.execute("update eventkit.leases set expires_at = clock_timestamp() where name = 'relay 1/4'")
    take(two, 1)

    settlement.settle([positions[0], positions[2]])
    with pytest.raises(Deposed, match="nothing was changed"):
        settlement.settle([positions[4], positions[5]])
    with pytest.raises(Deposed, match="nothing was changed"):
        RelayParking(settlement).park(positions[1], "refused")

    rows = session.execute("select position from eventkit.outbox order by position").fetchall()
    assert [position for (position,) in rows] == [p for p in positions if p not in (positions[0], positions[2])]
    assert session.execute("select count(*) from eventkit.dead_letters").fetchone() == (0,)


@pytest.mark.parametrize("parts", [[0], [0, 1], [0, 1, 2, 3]])
def test_positions_of_other_parts_are_not_settled(
    session: Session, join: Join, database_url: str, parts: list[int]
) -> None:
    """A process may have acknowledged them when it held more parts: their new holder sends and settles them."""
    change_part_count(session, "eventkit", 4, actor="ann")
    held = take(join("one"), *parts)
    with psycopg.connect(database_url) as writer:
        positions = [append(writer, f"order-{shard}", shard=shard) for shard in range(8)]

    Settlement(session, "eventkit", parts=held).settle(positions)

    left = [shard for (shard,) in session.execute("select shard from eventkit.outbox order by shard").fetchall()]
    assert left == [shard for shard in range(8) if shard % 4 not in parts]


@pytest.mark.parametrize("parts", [[0], [1, 3], [0, 1, 2, 3]])
def test_a_reader_reads_all_parts_of_its_scope(database_url: str, parts: list[int]) -> None:
    """One reader for any set of parts."""
    with psycopg.connect(database_url) as writer:
        for shard in range(8):
            append(writer, f"order-{shard}", shard=shard)
    with connect(database_url, name="reader", autocommit=True, options=READING) as reading:
        reader = GapReader(Outbox(reading, "eventkit", scope=Scope(parts=parts, of=4)))
        reader.start_pending()
        read = [row[2] for row in reader.read()]

    assert read == [f"order-{shard}" for shard in range(8) if shard % 4 in parts]


def test_the_number_of_parts_changes_while_no_relay_runs_and_is_recorded(session: Session, join: Join) -> None:
    """The action, who did it, from how many to how many; the next relays read it."""
    assert change_part_count(session, "eventkit", 5, actor="ann") == 1

    assert read_part_count(session, "eventkit") == 5
    assert join("one").of == 5
    recorded = session.execute("select actor, action, subject, detail from eventkit.operator_actions").fetchall()
    assert recorded == [("ann", "relay parts", "relay", "from 1 to 5 parts")]


@pytest.mark.parametrize("state", ["runs", "stands by", "hangs", "was cut off"])
def test_the_number_of_parts_does_not_change_while_a_relay_may_still_send(
    session: Session, join: Join, state: str
) -> None:
    """Not beside a leader or a standby, a hung process with its session, or one whose lease has not expired."""
    process = join("one")
    if state != "stands by":
        take(process, 0)
    if state == "hangs":
        session.execute("update eventkit.leases set expires_at = clock_timestamp() - interval '1 h'")
    if state == "was cut off":
        process._connection.close()
        wait_until(lambda: all(row.session is None for row in lease_rows(session, "eventkit")), timeout=10)

    with pytest.raises(RelayRunning, match="Try again then" if state == "was cut off" else "one"):
        change_part_count(session, "eventkit", 2, actor="ann")

    assert read_part_count(session, "eventkit") == 1
    assert session.execute("select count(*) from eventkit.operator_actions").fetchone() == (0,)


def test_no_relay_starts_during_a_change_of_the_number_of_parts(
    session: Session, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that starts after the change has looked for others waits for its end, and reads the new number."""
    joined: list[PartLeases] = []
    starting = threading.Thread(target=lambda: joined.append(join("late")))

    def look_and_let_it_start(connection: Session, schema: str) -> Any:  # noqa: ANN401
        found = lease_rows(connection, schema)
        starting.start()
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        wait_until(lambda: connection.execute(waiting).fetchone() == (1,), what="the start to wait")
        return found

    monkeypatch.setattr(part_count, "lease_rows", look_and_let_it_start)
    change_part_count(session, "eventkit", 4, actor="ann")
    starting.join(60)

    assert [process.of for process in joined] == [4]


def test_a_change_of_the_number_of_parts_waits_for_relays_that_start(
    session: Session, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that has read the old number is seen by the change, which is refused."""
    outcome: list[BaseException] = []

    def change() -> None:
        with connect(database_url, name="change", autocommit=True) as other, pytest.raises(RelayRunning) as refused:
            change_part_count(other, "eventkit", 4, actor="ann")
        outcome.append(refused.value)

    changing = threading.Thread(target=change)
    execute = PartLeases._execute

    def read_and_let_it_change(self: PartLeases, statement: str, **params: object) -> psycopg.Cursor[Any]:
        found = execute(self, statement, **params)
        if "relay_parts" in statement and not changing.ident:
            changing.start()
            waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
            wait_until(lambda: session.execute(waiting).fetchone() == (1,), what="the change to wait")
        return found

    monkeypatch.setattr(PartLeases, "_execute", read_and_let_it_change)
    with connect(database_url, name="relay", autocommit=True) as opened:
        process = PartLeases(opened, "eventkit", owner="starting")
        process.join()
        changing.join(60)

    assert process.of == 1
    assert len(outcome) == 1


def test_a_process_of_the_old_number_can_neither_renew_nor_settle(
    session: Session, join: Join, database_url: str
) -> None:
    """Its session was cut off before the change, and it wakes up after it; also when the old number comes back."""
    process = join("one")
    held = take(process, 0)
    process._connection.close()
    wait_until(lambda: all(row.session is None for row in lease_rows(session, "eventkit")), timeout=10)
    session.execute("update eventkit.leases set expires_at = clock_timestamp()")
    with connect(database_url, name="settlement", autocommit=True) as writing:
        for number in (2, 1):
            change_part_count(session, "eventkit", number, actor="ann")

            with pytest.raises(Deposed, match="nothing was changed"):
                Settlement(writing, "eventkit", parts=held).settle([1])


def test_a_number_that_was_changed_by_hand_ends_the_relays_of_the_old_one(session: Session, join: Join) -> None:
    """At their next renewal: they start again with the new number."""
    process = join("one")
    session.execute("update eventkit.installation set relay_parts = 2")

    with pytest.raises(Deposed, match="changed from 1 to 2"):
        process.renew(Parts())


@pytest.mark.parametrize("number", [0, -1, 257])
def test_a_number_of_parts_is_at_most_the_number_of_shards(session: Session, number: int) -> None:
    """The error has the bounds."""
    with pytest.raises(ConfigurationError, match="from 1 to 256"):
        change_part_count(session, "eventkit", number, actor="ann")


def test_rows_of_processes_that_died_are_removed_by_a_later_start(session: Session, join: Join) -> None:
    """A process that was killed leaves its row; the row goes a minute after its expiry."""
    dead = join("dead")
    dead._connection.close()
    session.execute("update eventkit.leases set expires_at = clock_timestamp() - interval '2 min'")

    alive = join("alive")

    names = [row.name for row in lease_rows(session, "eventkit") if row.name.startswith("relay process")]
    assert names == [f"relay process {alive.number}"]
