"""The values of an event's headers as anybody may have written them: times, ids and numbers.

One decoder for each, used wherever an event is read: what one reader refuses, every reader refuses.
"""

import re
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_OID, UUID, uuid5

import msgspec

Raw = str | bytes | None
"""A header as a transport gives it; None where it is missing or has no value."""

HIGHEST_VERSION = 2**31 - 2  # a version is a PostgreSQL integer, and so is the one after it
_DIGITS = 10
_SHOWN = 60
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(\.\d+)?(?:([Zz])|([+-]\d\d:\d\d))?", re.ASCII
)  # RFC 3339, the zone optional


def time_of(text: str) -> datetime:
    """Return a time in UTC, or raise ValueError.

    It is read as RFC 3339. A time without a zone is in UTC; a leap second is the second after it; fractions beyond
    microseconds are cut.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return _other_time(text)
    return time if time.tzinfo is UTC else _other_time(text)


def _other_time(text: str) -> datetime:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{shown(text)} is no time of RFC 3339, such as 2026-01-31T12:00:00Z")
    date, minute, second, fraction, _, offset = found.groups(default="")
    leap = second == "60"
    try:
        time = datetime.fromisoformat(f"{date}T{minute}:{'59' if leap else second}{fraction}{offset or '+00:00'}")
        return (time + timedelta(seconds=leap)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{shown(text)} is no time between the years 1 and 9999: {error}") from None


def uuid_of(event_id: Raw) -> UUID:
    """Return an id as a UUID; one that is no UUID is turned into one, always the same."""
    text = event_id.decode(errors="replace") if isinstance(event_id, bytes) else event_id or ""
    try:
        return msgspec.convert(text, UUID)  # three times as fast as UUID(...)
    except msgspec.ValidationError:
        return _other_uuid(text)


def _other_uuid(text: str) -> UUID:
    try:
        return UUID(text)  # in braces, for instance
    except ValueError:
        return uuid5(NAMESPACE_OID, text)


def number_of(value: Raw) -> int:
    """Return a number from 1, or 0 where this is none: at most ten ASCII digits without sign, spaces or underscores."""
    if value and len(value) <= _DIGITS and value.isdigit() and value.isascii():
        return int(value)
    return 0


def shown(value: object) -> str:
    """Return a value for a message: quoted, without control characters, and not too long."""
    text = ascii(value) if isinstance(value, bytes) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"
