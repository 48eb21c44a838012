"""Find the one event that the broker refuses, so that only its stream is parked.

A refusal ends a publisher, and may name innocents of the same batch. So what is unsettled is sent again in order,
awaited, and cut where it is refused: below the first suspect, the first half of the suspects, the rest. The next part
waits until the one before is settled or parked. Only an event that is refused alone is parked.
"""

from collections import deque
from collections.abc import Callable

from eventkit.relay.publisher_lifecycle import PublisherLifecycle
from eventkit.storage.outbox import Row, Settlement, message
from eventkit.transports import Reports


def send_one_by_one(
    rows: list[Row],
    publishing: PublisherLifecycle,
    settlement: Settlement,
    *,
    parked: dict[str, int],
    check: Callable[[], None],
) -> Reports | None:
    """Send and settle the rows in order, parking each that is refused alone.

    Return a failure that is not of an event, if one ends it.

    `parked` grows by the streams that were parked. `check` raises when the lease is over.
    """
    work = deque([rows])
    while work:
        part = [row for row in work.popleft() if row[2] not in parked]
        if not part:
            continue
        reports = publishing.deliver([message(row) for row in part], check)
        settlement.settle(reports.confirmed)
        if not reports.refused:
            if reports.failed:
                return reports
            continue
        if len(part) == 1:
            settlement.park(part[0][0], reports.refused[part[0][0]])
            parked[part[0][2]] = part[0][0]
            continue
        confirmed = set(reports.confirmed)
        work.extendleft(reversed(cut([row for row in part if row[0] not in confirmed], set(reports.refused))))
    return None


def cut(rows: list[Row], refused: set[int]) -> list[list[Row]]:
    """Cut rows before the first suspect and after the first half of the suspects."""
    suspects = [index for index, row in enumerate(rows) if row[0] in refused]
    first, middle = suspects[0], suspects[(len(suspects) - 1) // 2] + 1
    return [rows[:first], rows[first:middle], rows[middle:]]
