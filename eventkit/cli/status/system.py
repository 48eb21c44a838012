"""The content of `eventkit status`: the answers of the insights, read one after the other."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

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
    """The state of a system; `more` names the lists that are longer than shown.

    `hosts` has the host and number of every process by its id, also of those that the list leaves out.
    """

    at: datetime
    attention: list[Attention]
    relay: RelayInsight
    projections: tuple[ProjectionInsight, ...]
    dead_letters: list[DeadLetterGroup]
    timers: TimersInsight
    processes: tuple[ProcessInsight, ...]
    more: list[str]
    hosts: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return it for a script, which reads the hosts in the list of processes."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        del found["hosts"]
        return found


def look(insights: Insights, *, limit: int) -> SystemStatus:
    """Read the state, with at most `limit` items in each list."""
    projections, processes = insights.projections(limit=limit), insights.processes()
    letters = insights.dead_letter_groups(limit=limit + 1)
    longer = {
        "projections": projections.next is not None,
        "dead_letters": len(letters) > limit,
        "processes": processes.next is not None or len(processes.items) > limit,
    }
    return SystemStatus(
        at=datetime.now(UTC),
        attention=insights.attention(),
        relay=insights.relay(),
        projections=projections.items,
        dead_letters=letters[:limit],
        timers=insights.timers(),
        processes=processes.items[:limit],
        more=[name for name, is_longer in longer.items() if is_longer],
        hosts={process.id: f"{process.host}:{process.pid}" for process in processes.items},
    )
