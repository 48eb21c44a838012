"""The reader against every schedule that chance can think of, in a world that keeps PostgreSQL's order of things."""

import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventkit.storage.outbox import gap_reader, gaps
from eventkit.storage.outbox.gap_reader import GapReader
from tests.storage.outbox.world import Transaction, World

STREAMS = ("a", "b", "c")
KINDS = (0, 0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8)
STEPS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5), st.integers(0, 2)), max_size=5)


class Schedules(RuleBasedStateMachine):
    """Writers, a reader and its relay; under any schedule, each stream's first deliveries follow its versions."""

    @initialize(
        limit=st.integers(1, 6),
        max_bytes=st.integers(1, 6),
        sizes=st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 4)),
    )
    def begin(self, limit: int, max_bytes: int, sizes: tuple[int, int, int]) -> None:
        """Start with small limits, so that every path is walked."""
        self.patch = pytest.MonkeyPatch()
        for (module, name), size in zip(
            [(gaps, "_MAX_POSITIONS"), (gap_reader, "_MAX_HOLE"), (gaps, "_READS_BEFORE_SLEEP")], sizes, strict=True
        ):
            self.patch.setattr(module, name, size)
        self.world = World()
        self.sizes = {"limit": limit, "max_bytes": max_bytes}
        self.delivered: dict[str, int] = {}
        self.flight: set[int] = set()
        self.faults: list[str] = []
        self.start()

    def start(self) -> None:
        """Start a reader, which knows only the outbox; messages in flight are sent again."""
        self.flight.clear()
        self.reader = GapReader(self.world, **self.sizes)
        self.reader.start_pending()

    @rule(steps=STEPS)
    def writers(self, steps: list[tuple[int, int, int]]) -> None:
        """Let writers continue."""
        for step in steps:
            self.act(*step)

    @rule(meanwhile=STEPS)
    def read(self, meanwhile: list[tuple[int, int, int]]) -> None:
        """Read; in the middle of the statement, writers continue."""
        remaining = iter(meanwhile)

        def one() -> None:
            if (step := next(remaining, None)) is not None:
                self.act(*step)

        self.world.meanwhile = one
        self.take(self.reader.read(lambda: set(self.flight)))
        self.world.meanwhile = lambda: None

    @rule(count=st.integers(0, 5))
    def settle(self, count: int) -> None:
        """Settle acknowledged messages."""
        for position in sorted(self.flight)[:count]:
            self.world.outbox.discard(position)
            self.flight.discard(position)

    @precondition(lambda self: self.world.drawn > 3)
    @rule(meanwhile=STEPS)
    def restart(self, meanwhile: list[tuple[int, int, int]]) -> None:
        """Start again, as after a kill."""
        self.world.meanwhile = lambda: self.writers(meanwhile)
        self.start()
        self.world.meanwhile = lambda: None

    def act(self, kind: int, which: int, stream: int) -> None:
        """Do one thing that a writer does."""
        if kind == 0 or not self.world.transactions:
            self.world.append(self.world.begin(), STREAMS[stream], which % 3 + 1)
            return
        transaction = self.world.transactions[which % len(self.world.transactions)]
        doing: list[Any] = [
            lambda: self.world.append(transaction, STREAMS[stream]),
            lambda: self.world.append(transaction, STREAMS[stream], which + 1),
            lambda: self.world.commit(transaction),
            lambda: self.end(transaction),
            lambda: self.world.unlock(transaction),
            lambda: self.world.savepoint(transaction) if stream else self.world.back(transaction),
            lambda: self.world.abort(transaction) if stream else self.world.skip(which),
            lambda: self.straddle(transaction, STREAMS[stream], STREAMS[(stream + 1 + which % 2) % 3]),
        ]
        doing[kind - 1]()

    def end(self, transaction: Transaction) -> None:
        """Commit and release the lock."""
        self.world.commit(transaction)
        self.world.unlock(transaction)

    def straddle(self, transaction: Transaction, stream: str, other: str) -> None:
        """Append on both sides of another's commit."""
        self.world.append(transaction, stream)
        between = self.world.begin()
        self.world.append(between, other)
        self.end(between)
        self.world.append(transaction, stream)

    def take(self, rows: list[gap_reader.Row]) -> None:
        """Deliver, and note messages that come before their time."""
        for position, _, stream, version in rows:
            expected = self.delivered.get(stream, 0) + 1
            if version > expected:
                self.faults.append(f"{stream} {version} at {position} before {stream} {expected}")
            self.delivered[stream] = max(version, self.delivered.get(stream, 0))
            self.flight.add(position)

    @invariant()
    def in_order(self) -> None:
        """No version overtakes an earlier one."""
        assert not getattr(self, "faults", []), self.faults

    def teardown(self) -> None:
        """Everything that was committed arrives once its neighbours have ended."""
        for transaction in list(self.world.transactions):
            self.world.commit(transaction)
            self.world.unlock(transaction)
        for _ in range(40 + self.world.drawn * 3):
            self.take(self.reader.read(lambda: set(self.flight)))
        self.patch.undo()
        assert not self.faults, self.faults
        assert self.delivered == self.world.versions
        assert not self.reader.sweep(self.flight)
        assert self.reader.floor() == self.reader.cursor


class Storm(Schedules):
    """The same, driven by chance: many more schedules a second, each restart beside a backlog."""

    def __init__(self, seed: int) -> None:
        """Choose the schedule by its number."""
        super().__init__()
        self.chance = random.Random(seed)

    def run(self, steps: int) -> None:
        """Live through one schedule."""
        dice = self.chance.randint
        self.begin(dice(1, 4), dice(1, 4), (dice(1, 12), dice(1, 6), dice(1, 4)))
        for _ in range(steps):
            self.writers(self.draw(6))
            for _ in range(dice(0, 2)):
                self.read(self.draw(3))
            self.settle(dice(0, 3))
            if dice(0, 7) == 0:
                self.restart(self.draw(2))
            self.in_order()
        self.teardown()

    def draw(self, most: int) -> list[tuple[int, int, int]]:
        """Choose the writers' actions."""
        dice = self.chance.randint
        return [(self.chance.choice(KINDS), dice(0, 5), dice(0, 2)) for _ in range(dice(0, most))]


@pytest.mark.parametrize("block", range(4))
def test_a_storm_of_schedules_loses_and_reorders_nothing(block: int) -> None:
    """Two thousand schedules of forty steps with restarts: each stream arrives whole and in order."""
    for seed in range(block * 500, block * 500 + 500):
        Storm(seed).run(steps=40)


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
