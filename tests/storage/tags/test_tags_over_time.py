"""Decisions while the store changes around them: renamed types, pruning, archives, another history, personal data."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import psycopg
import pytest

from eventkit import (
    Catalog,
    DecisionChanged,
    DecisionModel,
    Decisions,
    EventStore,
    Personal,
    QueryItem,
    Snapshots,
    evolve,
)
from eventkit.storage.retention.archive import Archive
from tests.storage.people import MASTERS
from tests.storage.pruned import maintenance_role, prune
from tests.storage.shop import Placed, order, shop, store

ITEM = QueryItem(["of:a"])


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    """A store that may be pruned, with nothing to wait for."""
    with maintenance_role(database_url):
        yield database_url


def placed(connection: psycopg.Connection, *streams: str) -> None:
    """Append to streams, with a tag, and send it."""
    for stream in streams:
        store.append(connection, order(stream), Placed(), tags=["of:a"])
    connection.execute("delete from eventkit.outbox")
    connection.commit()


def renamed() -> tuple[EventStore, type, EventStore, type]:
    """Return the store and the class before a type was renamed, and after it."""
    old, new = Catalog("club"), Catalog("club")

    @dataclass(frozen=True)
    class Entered:
        member: str

    @dataclass(frozen=True)
    class Joined:
        person: str

    old.event(tags=["member"])(Entered)
    new.event(version=2, renamed_from="Entered", tags=lambda event: [f"member:{event.person}"])(Joined)
    new.upcast_fields(Joined, from_version=1, renamed={"member": "person"})
    return EventStore(old), Entered, EventStore(new), Joined


def test_events_of_a_type_that_was_renamed_are_found_and_are_conflicts(database_url: str) -> None:
    """Under both names, while processes of both releases append."""
    before, entered, after, joined = renamed()
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as other:
        before.append(other, "member-1", entered("ada"))
        other.commit()
        item = QueryItem(["member:ada"], types=[joined])
        decision = after.query(connection, item)
        assert [envelope.event for envelope in decision] == [joined("ada")]
        before.append(other, "member-2", entered("ada"))
        other.commit()
        with pytest.raises(DecisionChanged):
            after.append(connection, "member-3", joined("ada"), unless_changed=decision)
        after.append(connection, "member-3", joined("ada"), unless_changed=after.query(connection, item))


def test_a_decision_whose_last_event_was_pruned_is_taken_again(url: str) -> None:
    """It is a conflict once; later queries lack the pruned events."""
    with psycopg.connect(url) as connection:
        placed(connection, "a")
        decision = store.query(connection, ITEM)
        connection.commit()
        assert prune(url) == 1
        with pytest.raises(DecisionChanged):
            store.append(connection, order("b"), Placed(), unless_changed=decision)
        again = store.query(connection, ITEM)
        assert again.events == ()
        store.append(connection, order("b"), Placed(), tags=["of:a"], unless_changed=again)


def test_a_decision_whose_earlier_events_were_pruned_holds(url: str, tmp_path: Path) -> None:
    """Nothing has come since."""
    with psycopg.connect(url) as connection, psycopg.connect(url, autocommit=True) as operator:
        placed(connection, "a", "b")
        decision = store.query(connection, ITEM)
        connection.commit()
        Archive(operator, "eventkit", actor="ann").close([order("a")], tmp_path / "file")
        store.append(connection, order("c"), Placed(), tags=["of:a"], unless_changed=decision)


def test_a_decision_of_another_history_does_not_hold(database_url: str) -> None:
    """A restored database may have another event at the position that was seen last."""
    with psycopg.connect(database_url) as connection:
        store.append(connection, order("a"), Placed(1), tags=["of:a"])
        decision = store.query(connection, ITEM)
        connection.rollback()
        connection.execute("select setval(pg_get_serial_sequence('eventkit.events', 'position'), 1, false)")
        store.append(connection, order("b"), Placed(2), tags=["of:a"])
        connection.commit()
        with pytest.raises(DecisionChanged):
            store.append(connection, order("c"), Placed(), unless_changed=decision)


@dataclass
class Orders(DecisionModel):
    """The streams of a tag."""

    numbers: list[int] = field(default_factory=list)

    def query(self) -> list[QueryItem]:
        """Ask for the tag."""
        return [ITEM]

    @evolve
    def _placed(self, event: Placed) -> None:
        self.numbers.append(event.n)


def test_no_snapshot_outlives_pruning_archiving_and_restoring(url: str, tmp_path: Path) -> None:
    """A model is the fold of its query, after any removal from the store or return to it."""
    decisions = Decisions(store, Orders, snapshots=Snapshots(every=1))
    plain = Decisions(store, Orders)
    with psycopg.connect(url) as connection, psycopg.connect(url, autocommit=True) as operator:
        archive = Archive(operator, "eventkit", actor="ann")

        def kept() -> None:
            decisions.append(connection, decisions.load(connection), order("kept"), Placed())
            connection.execute("delete from eventkit.outbox")
            connection.commit()
            assert operator.execute("select count(*) from eventkit.decision_snapshots").fetchone() == (1,)

        placed(connection, "a", "b")
        kept()
        archive.close([order("a")], tmp_path / "file")
        assert decisions.load(connection) == plain.load(connection) == Orders([0])
        kept()
        archive.restore(tmp_path / "file")
        assert decisions.load(connection) == plain.load(connection) == Orders([0, 0])
        kept()
        prune(url)
        assert decisions.load(connection) == plain.load(connection) == Orders()


def test_events_with_personal_fields_are_decided_by(database_url: str) -> None:
    """Opened where the keys are, redacted elsewhere; the tags are as they were written."""
    people = Catalog("people")

    @people.event(tags=["plan"])
    @dataclass(frozen=True)
    class Registered:
        name: Annotated[str, Personal()]
        plan: str

    holder, stranger = EventStore(people, master_keys=MASTERS), EventStore(people)
    with psycopg.connect(database_url) as connection:
        decision = holder.query(connection, QueryItem(["plan:free"]))
        holder.append(connection, "customer-1", Registered("ada", "free"), unless_changed=decision)
        opened = holder.query(connection, QueryItem(["plan:free"]))
        redacted = stranger.query(connection, QueryItem(["plan:free"]))
        with pytest.raises(DecisionChanged):
            holder.append(connection, "customer-2", Registered("bob", "free"), unless_changed=decision)

    assert [envelope.event.name for envelope in opened] == ["ada"]
    assert [envelope.event.name for envelope in redacted] == ["[redacted]"]


def test_a_catalog_of_one_service_decides_by_its_types_alone(database_url: str) -> None:
    """Two services in one database may use one tag, and one name for a type of each."""
    other = Catalog("other")

    @other.event(name="Placed", tags=lambda _: ["of:a"])
    @dataclass(frozen=True)
    class Elsewhere:
        pass

    item = QueryItem(["of:a"], types=[Placed])
    with psycopg.connect(database_url) as connection:
        decision = store.query(connection, item)
        EventStore(other).append(connection, "thing-1", Elsewhere())
        assert store.query(connection, item).events == ()
        store.append(connection, shop.stream("order", 1), Placed(), unless_changed=decision)
