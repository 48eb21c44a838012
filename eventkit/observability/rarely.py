"""A log line with a rate limit, for events that another process can cause in any number."""

import logging
import time

INTERVAL = 10.0  # seconds


class Rarely:
    """Log one sentence at most once in `every` seconds, with the number of suppressed lines."""

    def __init__(self, logger: logging.Logger, *, every: float = INTERVAL) -> None:
        self._logger = logger
        self._every = every
        self._at = -every
        self._left_out = 0

    def warning(self, sentence: str, *values: object) -> None:
        """Log the sentence, or count it as suppressed."""
        now = time.monotonic()
        if now - self._at < self._every:
            self._left_out += 1
            return
        more = f" ({self._left_out:,} more since the last such line)" if self._left_out else ""
        self._at, self._left_out = now, 0
        self._logger.warning("%s%s", sentence % values, more)
