"""The fair share of a relay process: the parts that it takes, and those that it leaves to others. No SQL, no clock.

Each process computes the same plan from the same snapshot, and carries out its own part of it. The plan gives free
parts to the processes with the fewest, and moves a part only between processes that differ by two or more. So no
process has to be elected, and a balanced plan moves nothing.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

FREE = None
"""The holder of a part without a holder."""


class Share(NamedTuple):
    """The changes of one process: free parts to take, and own parts to leave to others."""

    take: list[int]
    leave: list[int]


def fair_share(holders: Mapping[int, int | None], members: Collection[int], me: int) -> Share:
    """Return the changes of the process `me`; `holders` has the process that holds each part, or `FREE`.

    `members` are the processes that are alive. A part whose holder is none of them is neither free nor moved.

    >>> fair_share({0: 1, 1: 1, 2: 1, 3: None}, [1, 2], 2)
    Share(take=[3], leave=[])
    >>> fair_share({0: 1, 1: 1, 2: 1, 3: 1}, [1, 2], 1)
    Share(take=[], leave=[2, 3])
    """
    if me not in members:  # its own row has expired by the database's clock: it is renewed first
        return Share([], [])
    planned = _balanced(holders, members)[me]
    free = [part for part in planned if holders[part] is FREE]
    return Share(sorted(free), sorted(part for part, holder in holders.items() if holder == me and part not in planned))


def _balanced(holders: Mapping[int, int | None], members: Collection[int]) -> dict[int, list[int]]:
    """Return the parts of each process when no two processes differ by two or more."""
    plan: dict[int, list[int]] = {member: [] for member in sorted(members)}
    free = []
    for part, holder in sorted(holders.items()):
        if holder is FREE:
            free.append(part)
        elif holder in plan:
            plan[holder].append(part)
    for part in free:
        _poorest(plan).append(part)
    while len(richest := max(plan.values(), key=len)) - len(poorest := _poorest(plan)) > 1:
        poorest.append(richest.pop())
    return plan


def _poorest(plan: Mapping[int, list[int]]) -> list[int]:
    return min(plan.values(), key=len)
