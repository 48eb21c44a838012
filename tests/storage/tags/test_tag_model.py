"""Tags against a model of them: queries and appends of three transactions at once, savepoints, rollbacks, commits."""

from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from eventkit.errors import DecisionChanged
from eventkit.storage.events.event_store import Decision, QueryItem
from tests.storage.shop import check_tables
from tests.storage.tags.courses import CourseDefined, Subscribed, school, store

TYPES = {"defined": CourseDefined, "subscribed": Subscribed}
TAGS = ["a", "b", "c"]
WRITERS = st.integers(0, 2)


@dataclass(frozen=True)
class Event:
    """An event in the model; its number is that in its course."""

    number: int
    kind: str
    tags: frozenset[str]

    def matches(self, item: tuple[frozenset[str], str]) -> bool:
        """Whether an item asks for it; an empty kind is any."""
        return item[0] <= self.tags and item[1] in ("", self.kind)


@dataclass
class Writer:
    """A transaction: its events and locks, and its state at each open savepoint."""

    connection: psycopg.Connection[Any]
    written: list[Event] = field(default_factory=list)
    locked: set[str] = field(default_factory=set)
    savepoints: list[tuple[list[Event], set[str]]] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """A decision, and the events at the time of its reading."""

    decision: Decision
    items: tuple[tuple[frozenset[str], str], ...]
    visible: frozenset[Event]
    last: tuple[Event, ...]

    @property
    def tags(self) -> set[str]:
        """The tags that it depends on."""
        return {tag for tags, _ in self.items for tag in tags}


class Model(RuleBasedStateMachine):
    """The committed events, in order, and those that each transaction adds."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.writers = [Writer(psycopg.connect(self.url, options="-c lock_timeout=50ms")) for _ in range(3)]
        self.committed: list[Event] = []
        self.asked: list[Asked] = []
        self.count = 0

    @initialize()
    def start(self) -> None:
        """Empty the tables: every run is a fresh store."""
        with psycopg.connect(self.url) as connection:
            connection.execute("alter table eventkit.events disable trigger all")
            names = ("events", "streams", "outbox", "tags", "event_tags")
            connection.execute("truncate " + ", ".join(f"eventkit.{name}" for name in names))
            connection.execute("alter table eventkit.events enable trigger all")

    def visible(self, writer: Writer) -> list[Event]:
        """Return the events that a transaction sees, in order of position."""
        return sorted([*self.committed, *writer.written], key=lambda event: event.number)

    @rule(
        which=WRITERS,
        items=st.lists(
            st.tuples(st.frozensets(st.sampled_from(TAGS), min_size=1, max_size=2), st.sampled_from(["", *TYPES])),
            min_size=1,
            max_size=3,
        ),
    )
    def query(self, which: int, items: list[tuple[frozenset[str], str]]) -> None:
        """Read a decision: visible events that match any item, in order, each once."""
        writer = self.writers[which]
        asked = [QueryItem(sorted(tags), types=[TYPES[kind]] if kind else []) for tags, kind in items]
        decision = store.query(writer.connection, *asked)
        visible = self.visible(writer)
        matching = [event.number for event in visible if any(event.matches(item) for item in items)]
        assert [int(one.event.course) for one in decision] == matching
        tags = {tag for names, _ in items for tag in names}
        last = [max(found, key=lambda e: e.number) for tag in tags if (found := [e for e in visible if tag in e.tags])]
        self.asked = [*self.asked[-5:], Asked(decision, tuple(items), frozenset(visible), tuple(last))]

    @rule(
        which=WRITERS,
        kind=st.sampled_from(list(TYPES)),
        tags=st.frozensets(st.sampled_from(TAGS), max_size=2),
        by=st.integers(0, 7),
    )
    def append(self, which: int, kind: str, tags: frozenset[str], by: int) -> None:
        """Append, by a decision where there is one: it waits, is a conflict, or is there."""
        writer = self.writers[which]
        asked = self.asked[by] if by < len(self.asked) else None
        needed = set(tags) | (asked.tags if asked else set())
        blocked = any(needed & other.locked for other in self.writers if other is not writer)
        self.count += 1
        event = Event(self.count, kind, tags)
        if blocked:
            with pytest.raises(psycopg.errors.LockNotAvailable), writer.connection.transaction():
                self.call(writer, event, asked)
            return
        writer.locked |= needed
        if asked and self.is_changed(writer, asked):
            with pytest.raises(DecisionChanged) as caught:
                self.call(writer, event, asked)
            assert caught.value.transaction_usable
            return
        self.call(writer, event, asked)
        writer.written.append(event)

    def is_changed(self, writer: Writer, asked: Asked) -> bool:
        """Return whether a matching event has come since, or the last one of a tag is gone."""
        visible = self.visible(writer)
        new = [event for event in visible if event not in asked.visible]
        return any(event.matches(item) for event in new for item in asked.items) or not set(asked.last) <= set(visible)

    def call(self, writer: Writer, event: Event, asked: Asked | None) -> None:
        """Append a course whose name is the event's number; its own tag is one that nobody asks for."""
        number = str(event.number)
        happened = CourseDefined(number) if event.kind == "defined" else Subscribed(number, number)
        stream = school.stream("subscription", self.writers.index(writer))
        decision = asked.decision if asked else None
        store.append(writer.connection, stream, happened, tags=sorted(event.tags), unless_changed=decision)

    @rule(which=WRITERS)
    def savepoint(self, which: int) -> None:
        """A nested transaction begins."""
        writer = self.writers[which]
        writer.connection.execute(f"savepoint s{len(writer.savepoints)}")
        writer.savepoints.append((list(writer.written), set(writer.locked)))

    @rule(which=WRITERS)
    def roll_back_to_the_savepoint(self, which: int) -> None:
        """Its events are gone, and so are its locks."""
        writer = self.writers[which]
        if writer.savepoints:
            writer.written, writer.locked = writer.savepoints.pop()
            writer.connection.execute(f"rollback to savepoint s{len(writer.savepoints)}")

    @rule(which=WRITERS, keep=st.booleans())
    def end(self, which: int, keep: bool) -> None:  # noqa: FBT001 a parameter of the rule
        """The transaction ends, one way or the other."""
        writer = self.writers[which]
        if keep:
            writer.connection.commit()
            self.committed += writer.written
        else:
            writer.connection.rollback()
        self.writers[which] = Writer(writer.connection)

    @invariant()
    def each_transaction_sees_what_the_model_sees(self) -> None:
        """Every tag, for every transaction."""
        for writer in self.writers:
            for tag in TAGS:
                found = [int(one.event.course) for one in store.query(writer.connection, QueryItem([tag]))]
                assert found == [event.number for event in self.visible(writer) if tag in event.tags]

    def teardown(self) -> None:
        """Compare committed events."""
        for which in range(3):
            self.end(which, keep=False)
        self.each_transaction_sees_what_the_model_sees()
        check_tables(self.writers[0].connection)
        for writer in self.writers:
            writer.connection.close()


@pytest.mark.both_postgres
def test_tags_and_decisions_do_as_the_model_does(database_url: str) -> None:
    """In any interleaving of three transactions, a decision holds exactly while none of its events has changed."""
    machine = type("Machine", (Model,), {"url": database_url})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
