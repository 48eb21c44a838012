"""A log line that anybody could cause, written at most once in a while: a flood of messages is no flood of lines."""

import logging
import time

EVERY = 10.0  # seconds


class Rarely:
    """One sentence of one place in the code; says how often it was left out since the last time."""

    def __init__(self, logger: logging.Logger, *, every: float = EVERY) -> None:
        """Write to `logger` once in `every` seconds."""
        self._logger = logger
        self._every = every
        self._at = -every
        self._left_out = 0

    def warning(self, sentence: str, *values: object) -> None:
        """Write it, or count it."""
        now = time.monotonic()
        if now - self._at < self._every:
            self._left_out += 1
            return
        more = f" ({self._left_out:,} more since the last such line)" if self._left_out else ""
        self._at, self._left_out = now, 0
        self._logger.warning("%s%s", sentence % values, more)
