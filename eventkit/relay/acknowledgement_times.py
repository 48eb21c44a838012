"""The times from recording to acknowledgement of published events, by a few samples of each page."""

import time
from collections.abc import Collection, Sequence
from contextlib import suppress

from eventkit.domain.header_values import time_of
from eventkit.observability.instruments import is_enabled
from eventkit.observability.metrics import ACKNOWLEDGED_AFTER
from eventkit.observability.sampling import samples
from eventkit.storage.outbox import Row

_TIME = 8  # the place of the recorded time in a row


class AcknowledgementTimes:
    """The samples of one publisher's unacknowledged pages; without a sink it keeps none."""

    def __init__(self) -> None:
        self._sent: dict[int, tuple[float, int]] = {}  # position -> recorded time, events that the sample stands for

    def sending(self, rows: Sequence[Row]) -> None:
        """Choose the samples of a page."""
        if is_enabled():
            for row, weight in samples(rows):
                with suppress(ValueError):
                    self._sent[row[0]] = time_of(row[_TIME]).timestamp(), weight

    def confirmed(self, acknowledged: Collection[int]) -> None:
        """Observe the samples that are among the acknowledged positions."""
        if not self._sent:
            return
        now = time.time()
        for position in [position for position in self._sent if position in acknowledged]:
            recorded, weight = self._sent.pop(position)
            ACKNOWLEDGED_AFTER.observe(max(0.0, now - recorded), weight=weight)
