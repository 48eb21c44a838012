"""The order of the conditions, and of the items that they report."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import chain

from eventkit.insights.attention import other_conditions, projection_conditions, relay_conditions
from eventkit.insights.attention.item import CODES, Attention
from eventkit.insights.attention.observations import Observations

Condition = Callable[[Observations], Iterator[Attention]]

CONDITIONS: tuple[Condition, ...] = (
    other_conditions.installation,
    relay_conditions.relays,
    relay_conditions.outbox,
    relay_conditions.debezium,
    relay_conditions.switch,
    relay_conditions.skipped,
    relay_conditions.held,
    other_conditions.slots,
    projection_conditions.projections,
    projection_conditions.handlers,
    other_conditions.timers,
    other_conditions.letters,
    other_conditions.parked,
    projection_conditions.rebuilds,
    other_conditions.processes,
    relay_conditions.paused_topics,
    other_conditions.inbox,
)

_RANK = {code: rank for rank, code in enumerate(CODES)}


def reported(seen: Observations) -> list[Attention]:
    """Return the items of all conditions: critical before warning, then by kind, then the longest lasting first."""
    return sorted(
        chain.from_iterable(condition(seen) for condition in CONDITIONS), key=lambda item: _order(item, seen.now)
    )


def _order(item: Attention, now: datetime) -> tuple[bool, int, timedelta, str]:
    return item.urgency != "critical", _RANK[item.code], (item.since or now) - now, item.subject
