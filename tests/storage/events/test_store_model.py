"""The store against a model of it: expectations, several streams, savepoints, rollbacks, retries, in any order."""

import uuid
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from eventkit.errors import ConcurrencyError
from eventkit.storage.events.event_store import ANY, NO_STREAM, Append, Expected
from tests.storage.shop import Placed, check_tables, order, store

KEYS = ["a", "B", "_", "é"]
Streams = dict[str, list[int]]


def expectation(kind: str, version: int) -> Expected | int:
    """Return an expectation of that kind, for a stream that is at `version`."""
    kinds: dict[str, Expected | int] = {"any": ANY, "none": NO_STREAM, "low": max(version - 1, 0), "high": version + 1}
    return kinds.get(kind, version)


def holds(expected: Expected | int, version: int) -> bool:
    """Return the expected events of the store."""
    return expected is ANY or (0 if expected is NO_STREAM else expected) == version


class Model(RuleBasedStateMachine):
    """The committed events, those that the open transaction sees, and those that each open savepoint saw."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.connection: psycopg.Connection[Any] = psycopg.connect(self.url)
        self.committed: Streams = {}
        self.now: Streams = {}
        self.savepoints: list[Streams] = []
        self.retries: list[tuple[list[Append], list[int]]] = []
        self.count = 0

    @initialize()
    def start(self) -> None:
        """Empty the tables: every run is a fresh store."""
        with self.connection.transaction():
            self.connection.execute("alter table eventkit.events disable trigger all")
            self.connection.execute("truncate eventkit.events, eventkit.streams, eventkit.outbox")
            self.connection.execute("alter table eventkit.events enable trigger all")

    @rule(
        parts=st.lists(
            st.tuples(
                st.sampled_from(KEYS),
                st.integers(1, 3),
                st.sampled_from(["any", "none", "right", "right", "low", "high"]),
            ),
            min_size=1,
            max_size=4,
            unique_by=lambda part: part[0],
        ),
        ids=st.booleans(),
    )
    def append(self, parts: list[tuple[str, int, str]], ids: bool) -> None:  # noqa: FBT001 a parameter of the rule
        """Append to one or several streams: all of it, or nothing and an error that has the values."""
        appends, versions = [], [len(self.now.get(order(key), [])) for key, *_ in parts]
        for (key, count, kind), version in zip(parts, versions, strict=True):
            events = [Placed(self.count + n) for n in range(count)]
            self.count += count
            given = [uuid.uuid4() for _ in events] if ids else None
            appends.append(Append(order(key), events, expected=expectation(kind, version), ids=given))
        self.expect(appends, versions)

    def expect(self, appends: list[Append], versions: list[int]) -> None:
        """Call the store and compare."""
        wrong = [
            (append.stream, version)
            for append, version in zip(appends, versions, strict=True)
            if not holds(append.expected, version)
        ]
        if wrong:
            with pytest.raises(ConcurrencyError) as caught:
                store.append_many(self.connection, appends)
            assert (caught.value.stream, caught.value.actual) == wrong[0]
            assert caught.value.transaction_usable
            return
        results = store.append_many(self.connection, appends)
        for append, result, version in zip(appends, results, versions, strict=True):
            self.now.setdefault(append.stream, []).extend(event.n for event in append.events)  # type: ignore[attr-defined]
            assert (result.stream, result.version) == (append.stream, version + len(append.events))
        if appends[0].ids:
            self.retries.append((appends, [result.version for result in results]))

    @rule(which=st.integers(0, 100))
    def retry(self, which: int) -> None:
        """An append that is in the store is not written again."""
        if self.retries:
            appends, versions = self.retries[which % len(self.retries)]
            assert [result.version for result in store.append_many(self.connection, appends)] == versions

    @rule()
    def savepoint(self) -> None:
        """The caller opens a nested transaction."""
        self.connection.execute(f"savepoint s{len(self.savepoints)}")
        self.savepoints.append({stream: list(numbers) for stream, numbers in self.now.items()})

    @rule()
    def roll_back_to_the_savepoint(self) -> None:
        """The caller takes it back."""
        if self.savepoints:
            self.now = self.savepoints.pop()
            self.connection.execute(f"rollback to savepoint s{len(self.savepoints)}")
            self.forget()

    @rule()
    def release_the_savepoint(self) -> None:
        """The caller keeps it."""
        if self.savepoints:
            self.savepoints.pop()
            self.connection.execute(f"release savepoint s{len(self.savepoints)}")

    @rule()
    def commit(self) -> None:
        """The caller commits."""
        self.connection.commit()
        self.committed = {stream: list(numbers) for stream, numbers in self.now.items()}
        self.savepoints = []

    @rule()
    def roll_back(self) -> None:
        """The caller takes all of it back."""
        self.connection.rollback()
        self.now = {stream: list(numbers) for stream, numbers in self.committed.items()}
        self.savepoints = []
        self.forget()

    def forget(self) -> None:
        """Keep the retries of events that are still there."""
        there = {n for numbers in self.now.values() for n in numbers}
        self.retries = [retry for retry in self.retries if retry[0][0].events[0].n in there]  # type: ignore[attr-defined]

    @invariant()
    def the_transaction_sees_what_the_model_sees(self) -> None:
        """Every stream, forwards, backwards and by position."""
        check_tables(self.connection)
        for stream, numbers in self.now.items():
            assert [e.event.n for e in store.read_stream(self.connection, stream, batch=2)] == numbers
        everything = [(e.stream, e.event.n) for e in store.read_all(self.connection, batch=3)]
        assert sorted(everything) == sorted((s, n) for s, numbers in self.now.items() for n in numbers)
        backwards = [(e.stream, e.event.n) for e in store.read_all(self.connection, batch=3, backwards=True)]
        assert backwards == everything[::-1]

    def teardown(self) -> None:
        """Compare committed events."""
        self.connection.rollback()
        self.now = self.committed
        self.the_transaction_sees_what_the_model_sees()
        self.connection.close()


@pytest.mark.both_postgres
def test_the_store_does_as_the_model_does(database_url: str) -> None:
    """Any sequence of calls and transaction ends leaves exactly the content of a dictionary of lists."""
    machine = type("Machine", (Model,), {"url": database_url})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
