"""The content of `eventkit status`: the answers of the insights, read one after the other."""

from dataclasses import dataclass
from datetime import UTC, datetime

from eventkit.insights import (
    Attention,
    DeadLetterGroup,
    Insights,
    ProcessInsight,
    ProjectionInsight,
    RelayInsight,
    TimersInsight,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStatus:
    """The state of a system; `more` names the lists that are longer than shown."""

    at: datetime
    attention: list[Attention]
    relay: RelayInsight
    projections: tuple[ProjectionInsight, ...]
    dead_letters: list[DeadLetterGroup]
    timers: TimersInsight
    processes: tuple[ProcessInsight, ...]
    more: list[str]


def look(insights: Insights, *, limit: int) -> SystemStatus:
    """Read the state, with at most `limit` items in each list."""
    projections, processes = insights.projections(limit=limit), insights.processes(limit=limit)
    letters = insights.dead_letter_groups(limit=limit + 1)
    longer = {
        "projections": projections.next is not None,
        "dead_letters": len(letters) > limit,
        "processes": processes.next is not None,
    }
    return SystemStatus(
        at=datetime.now(UTC),
        attention=insights.attention(),
        relay=insights.relay(),
        projections=projections.items,
        dead_letters=letters[:limit],
        timers=insights.timers(),
        processes=processes.items,
        more=[name for name, is_longer in longer.items() if is_longer],
    )
