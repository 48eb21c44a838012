"""Lines in the workers' logs that hint at a fault without a broken promise: holes that the store filled, tracebacks."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_REPAIRED = re.compile(r"took (\d+) events of \S+ from the store")


@dataclass(frozen=True)
class LogCounts:
    """Counts of hints."""

    repaired: int  # events that the broker has not brought in order
    tracebacks: int

    @property
    def wrong(self) -> bool:
        """Whether there is any."""
        return bool(self.repaired or self.tracebacks)


def count_lines(logs: Iterable[str]) -> LogCounts:
    """Count the hints in logs."""
    texts = list(logs)
    repaired = sum(int(count) for text in texts for count in _REPAIRED.findall(text))
    return LogCounts(repaired, sum(text.count("Traceback (most recent call last)") for text in texts))
