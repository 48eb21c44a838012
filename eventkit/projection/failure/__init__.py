"""Failures of projections: error classes, attempts, breakers, and streams that are set aside."""

from eventkit.projection.failure.attempts import Attempts
from eventkit.projection.failure.breaker import Breaker, Breakers
from eventkit.projection.failure.error_class import (
    ErrorClass,
    cause_of,
    classify_error,
    database_error,
    describe,
    detail,
    is_lock_timeout,
    translated,
)
from eventkit.projection.failure.error_place import frames_of
from eventkit.projection.failure.failures import Away, Failed, Locked
from eventkit.projection.failure.set_aside import SetAside

__all__ = [
    "Attempts",
    "Away",
    "Breaker",
    "Breakers",
    "ErrorClass",
    "Failed",
    "Locked",
    "SetAside",
    "cause_of",
    "classify_error",
    "database_error",
    "describe",
    "detail",
    "frames_of",
    "is_lock_timeout",
    "translated",
]
