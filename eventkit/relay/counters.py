"""The counters of a relay process, since its start; the heartbeat and the metrics show them."""

from dataclasses import dataclass

from eventkit.observability import metrics


@dataclass(slots=True)
class RelayCounters:
    """Each number is written by one thread."""

    published: int = 0  # events that the broker has acknowledged
    swept: int = 0  # events that only the sweep has found: each one is a fault
    gaps: int = 0  # positions that the reader waits for now

    def count_published(self, events: int) -> None:
        """Count acknowledged events."""
        self.published += events
        metrics.PUBLISHED.add(events)

    def count_swept(self, events: int) -> None:
        """Count events that the sweep has found."""
        self.swept += events
        metrics.SWEPT.add(events)

    def set_gaps(self, positions: int) -> None:
        """Set the number of positions that the reader waits for."""
        self.gaps = positions
        metrics.READER_GAPS.set(positions)
