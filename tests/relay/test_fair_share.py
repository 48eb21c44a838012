"""The fair share of a process: all joins, leaves and deaths end balanced, with few moves, and then nothing moves."""

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventkit.relay.fair_share import fair_share

Holders = dict[int, int | None]


class World:
    """Parts, the processes that are alive, and the snapshot on which each of them acts next."""

    def __init__(self, parts: int) -> None:
        self.holders: Holders = dict.fromkeys(range(parts))
        self.members: set[int] = set()
        self.moved = 0
        self._snapshots: dict[int, tuple[Holders, set[int]]] = {}

    def join(self, member: int) -> None:
        """A process starts."""
        self.members.add(member)
        self.look(member)

    def leave(self, member: int) -> None:
        """A process ends or dies; its parts are free."""
        self.members.discard(member)
        self.holders = {part: None if holder == member else holder for part, holder in self.holders.items()}

    def look(self, member: int) -> None:
        """A process takes a snapshot, on which it acts later."""
        self._snapshots[member] = dict(self.holders), set(self.members)

    def act(self, member: int) -> None:
        """A process acts on its snapshot; a part that another one has taken since stays with it."""
        if member not in self.members:
            return
        holders, members = self._snapshots[member]
        # A process knows its own parts; others may have changed since.
        own = {part: holder for part, holder in self.holders.items() if member in (holder, holders[part])}
        share = fair_share({**holders, **own}, sorted(members), member)
        for part in share.take:
            if self.holders[part] is None:
                self.holders[part] = member
        for part in share.leave:
            self.holders[part] = None
            self.moved += 1

    def settle(self) -> int:
        """Let all processes look and act in turns until nothing changes; return the number of turns."""
        for turn in range(10):
            before = dict(self.holders)
            for member in sorted(self.members):
                self.look(member)
                self.act(member)
            if self.holders == before:
                return turn
        raise AssertionError(f"the parts still move after ten turns: {self.holders}")

    def counts(self) -> list[int]:
        """How many parts each process holds, in ascending order."""
        held = Counter(holder for holder in self.holders.values() if holder is not None)
        return sorted(held.get(member, 0) for member in self.members)


STEPS = st.lists(st.tuples(st.sampled_from(["join", "leave", "look", "act"]), st.integers(1, 6)), max_size=60)


@given(parts=st.integers(1, 24), steps=STEPS)
@example(parts=4, steps=[("join", 1), ("act", 1), ("join", 2), ("act", 1), ("join", 3), ("act", 2), ("act", 3)])
def test_any_sequence_of_joins_and_leaves_ends_balanced(parts: int, steps: list[tuple[str, int]]) -> None:
    """Also where each process acts on an old snapshot: all parts are held, and nobody has two more."""
    world = World(parts)
    for name, member in [*steps, ("join", 1)]:
        getattr(world, name)(member)

    world.settle()

    assert None not in world.holders.values()
    assert set(world.holders.values()) <= world.members
    assert max(world.counts()) - min(world.counts()) <= 1


@given(parts=st.integers(1, 24), members=st.integers(1, 12), joining=st.integers(0, 6))
def test_no_more_parts_move_than_the_newcomers_get(parts: int, members: int, joining: int) -> None:
    """Each part moves once at most, to a process that had too few; a balanced world moves nothing."""
    world = World(parts)
    for member in range(members):
        world.join(member)
    world.settle()
    before, world.moved = dict(world.holders), 0

    world.settle()

    assert world.moved == 0
    for member in range(members, members + joining):
        world.join(member)
    world.settle()
    gained = sum(1 for part, holder in world.holders.items() if holder != before[part])
    assert (
        world.moved == gained == sum(1 for holder in world.holders.values() if holder is not None and holder >= members)
    )


@given(parts=st.integers(1, 24), members=st.integers(2, 12))
def test_only_the_parts_of_the_dead_move_when_one_dies(parts: int, members: int) -> None:
    """The survivors keep their parts."""
    world = World(parts)
    for member in range(members):
        world.join(member)
    world.settle()
    before, world.moved = dict(world.holders), 0

    world.leave(0)
    world.settle()

    assert world.moved == 0
    assert {part: holder for part, holder in before.items() if holder} == {
        part: world.holders[part] for part, holder in before.items() if holder
    }


@pytest.mark.parametrize(
    ("holders", "members", "take", "leave"),
    [
        ({0: None}, [1], [0], []),
        ({0: 2}, [1, 2], [], []),  # more processes than parts: a standby
        ({0: 1, 1: 1, 2: 2}, [1, 2], [], []),  # a difference of one
        ({0: 1, 1: 1, 2: None}, [1, 2], [], []),  # free, and the other's share
        ({0: 1, 1: 1, 2: 1}, [1, 2], [], [2]),
        ({0: 0, 1: 1, 2: 1}, [1, 2], [], [2]),  # a session that is no process of this kind holds a part
        ({0: 1, 1: 1}, [2], [], []),  # its own row has expired: it is renewed first
        ({0: None, 1: None}, [], [], []),
        ({}, [1], [], []),
    ],
)
def test_the_share_of_process_one(
    holders: Mapping[int, int | None], members: list[int], take: list[int], leave: list[int]
) -> None:
    """Single cases, each with its answer."""
    assert fair_share(holders, members, 1) == (take, leave)
