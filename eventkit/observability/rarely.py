"""A log that writes a repeated fault once, then counts it: for faults that others can cause in any number.

A fault is known by its kind, such as a handler and the class of its error. Its first line is written at once. Further
ones are counted for some seconds, and the next line says how many there were; so does `flush`, if none follows.
"""

import logging
import time
from collections.abc import Hashable

import msgspec

from eventkit.observability.log_fields import LogFields, extra

INTERVAL = 10.0  # seconds
_MAX_KINDS = 1_000


class Fault(msgspec.Struct):
    """A kind of fault: the time of its last line, the number of lines left out since, and the last of these."""

    at: float
    level: int
    left_out: int = 0
    sentence: str = ""
    fields: LogFields = {}


class Rarely:
    """Log each kind of fault at most once in `every` seconds, with the number of suppressed lines."""

    def __init__(self, logger: logging.Logger, *, every: float = INTERVAL) -> None:
        self._logger = logger
        self._every = every
        self._faults: dict[Hashable, Fault] = {}

    def info(self, sentence: str, *values: object, kind: Hashable = None, fields: LogFields | None = None) -> None:
        """Log as `warning` does."""
        self._log(logging.INFO, sentence, values, kind, fields or {})

    def warning(self, sentence: str, *values: object, kind: Hashable = None, fields: LogFields | None = None) -> None:
        """Log the sentence, or count it as suppressed; its kind is the sentence unless given."""
        self._log(logging.WARNING, sentence, values, kind, fields or {})

    def error(self, sentence: str, *values: object, kind: Hashable = None, fields: LogFields | None = None) -> None:
        """Log as `warning` does."""
        self._log(logging.ERROR, sentence, values, kind, fields or {})

    def flush(self, *, at_end: bool = False) -> None:
        """Say the counts of the kinds whose time is over, or of all `at_end`; call it now and then."""
        now = time.monotonic()
        for kind, fault in list(self._faults.items()):
            if at_end or now - fault.at >= self._every:
                if fault.left_out:
                    self._write(fault, fault.left_out - 1)
                del self._faults[kind]

    def _log(self, level: int, sentence: str, values: tuple[object, ...], kind: Hashable, fields: LogFields) -> None:
        now, kind = time.monotonic(), kind if kind is not None else sentence
        fault = self._faults.get(kind)
        if fault is not None and now - fault.at < self._every:
            fault.left_out += 1
            fault.sentence, fault.fields = sentence % values, fields
            return
        if fault is None and len(self._faults) >= _MAX_KINDS:
            del self._faults[next(iter(self._faults))]
        self._faults[kind] = Fault(now, level)
        self._write(Fault(now, level, 0, sentence % values, fields), fault.left_out if fault else 0)

    def _write(self, fault: Fault, others: int) -> None:
        more = f" ({others:,} more since the last such line)" if others else ""
        self._logger.log(fault.level, "%s%s", fault.sentence, more, extra=extra(fault.fields))
