"""Find the one event that the broker refuses, so that only its stream is parked.

A refusal ends a publisher, and may name other events of the same batch. So unsettled rows are sent again in order, a
part at a time. A refused part is cut in three: the rows before the first suspect, the first half of the suspects, and
the rest. Each part waits until the part before it is settled or parked. An event is parked only if it is refused alone.
"""

from collections import deque
from collections.abc import Callable

from eventkit.relay.publisher_lifecycle import PublisherLifecycle
from eventkit.storage.outbox import RelayParking, Row, Settlement, message
from eventkit.transports import Reports


def send_by_halves(
    rows: list[Row],
    publishers: PublisherLifecycle,
    settlement: Settlement,
    *,
    parking: RelayParking,
    parked: dict[str, int],
    check: Callable[[], None],
) -> Reports | None:
    """Send and settle rows in order, and park each one that is refused alone.

    Return the publisher's failure where it is not the refusal of an event, else None. `parked` (stream to position)
    grows by the streams that this call parks. `check` raises when the lease has expired.
    """
    work = deque([rows])
    while work:
        part = [row for row in work.popleft() if row[2] not in parked]
        if not part:
            continue
        reports = publishers.deliver([message(row) for row in part], check)
        settlement.settle(reports.confirmed)
        if not reports.refused:
            if reports.failed:
                return reports
            continue
        if len(part) == 1:
            parking.park(part[0][0], reports.refused[part[0][0]])
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
