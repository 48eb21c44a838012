"""The fields of a log line beside its message, under names that never change; JSON logs have them (`logs`).

A line has the fields that it can name. `trace_id` comes from the current span.
"""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypedDict

_ATTRIBUTE = "eventkit_fields"  # of a record
_NONE: Mapping[str, Any] = MappingProxyType({})


class LogFields(TypedDict, total=False):
    """The known fields; values are text or numbers, and never quote an event."""

    projection: str
    topic: str
    stream: str
    version: int
    event_id: str
    epoch: int
    error_type: str  # the class of an error, or the kind of a failure


def extra(fields: LogFields) -> dict[str, LogFields]:
    """Return the argument `extra` of a logging call."""
    return {_ATTRIBUTE: fields}


def fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """Return the fields of a record."""
    found: Mapping[str, Any] = getattr(record, _ATTRIBUTE, _NONE)
    return found
