"""Decoders of header values, which any producer may have written: times, ids and numbers.

Every reader uses these, so all readers accept and refuse the same values.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_OID, UUID, uuid5

import msgspec

Raw = str | bytes | None
"""A header's value from a transport; None if it is missing or has no value."""

HIGHEST_VERSION = 2**31 - 2  # a version is a PostgreSQL integer, and so is the one after it
_MAX_DIGITS = 10
_MAX_SHOWN = 60  # characters
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(\.\d+)?(?:([Zz])|([+-]\d\d:\d\d))?", re.ASCII
)  # RFC 3339, the zone optional
_UUID = re.compile(r"(urn:uuid:)?(\{)?[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}(?(2)\})", re.ASCII)
_TO_SECONDS = b"0000-00-00T00:00:00"
_HOUR_END, _MINUTES, _SECONDS = 13, 14, 17  # places in it
_HOUR = slice(11, 13)
# PostgreSQL writes `+00:00` and no zeros at the end of a fraction, others write `Z`.
_UTC = b"+00:00"
_FORMS = frozenset(
    _TO_SECONDS + fraction + zone
    for fraction in (b"", *(b"." + b"0" * digits for digits in range(1, 7)))
    for zone in (_UTC, b"Z")
)
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")


def time_of(text: str) -> datetime:
    """Return a time of RFC 3339 in UTC, or raise ValueError.

    A time without a zone counts as UTC. A leap second becomes the next second. Digits beyond microseconds are cut.
    Other forms of ISO 8601 are refused: which of them Python reads depends on its release.
    """
    if text.isascii() and text.encode().translate(_DIGITS_TO_ZERO) in _FORMS and text[_HOUR] != "24":
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            return _other_time(text)
        if time.tzinfo is UTC:
            return time
    return _other_time(text)


def are_times(texts: Sequence[bytes]) -> bool:
    """Whether all are times in UTC, as PostgreSQL and eventkit write them; False if one needs `time_of`."""
    try:
        for text in {text[:_HOUR_END] for text in texts}:
            if text.endswith(b"24"):  # the next day's midnight, to some releases of Python
                return False
            datetime.fromisoformat(text.decode())
    except ValueError:
        return False
    joined, every = b"".join([text[: len(_TO_SECONDS)] for text in texts]), len(_TO_SECONDS)
    tens = joined[_MINUTES::every] + joined[_SECONDS::every]  # of minutes and seconds: the hours are checked above
    forms = {text.translate(_DIGITS_TO_ZERO) for text in texts}
    zones = {text[-len(_UTC) :] for text in texts if not text.endswith(b"Z")}
    return forms <= _FORMS and zones <= {_UTC} and not tens.strip(b"012345")


def _other_time(text: str) -> datetime:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{shown(text)} is no time of RFC 3339, such as 2026-01-31T12:00:00Z")
    date, minute, second, fraction, _, offset = found.groups(default="")
    leap = second == "60"
    if minute.startswith("24"):
        raise ValueError(f"{shown(text)} is no time: its hour is not in 00 to 23")
    try:
        time = datetime.fromisoformat(f"{date}T{minute}:{'59' if leap else second}{fraction}{offset or '+00:00'}")
        return (time + timedelta(seconds=leap)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{shown(text)} is no time between the years 1 and 9999: {error}") from None


def uuid_of(event_id: Raw) -> UUID:
    """Return an id as a UUID; any other text gives a version 5 UUID, always the same one."""
    text = event_id.decode(errors="replace") if isinstance(event_id, bytes) else event_id or ""
    try:
        return msgspec.convert(text, UUID)  # three times as fast as UUID(...)
    except msgspec.ValidationError:
        return _other_uuid(text)


def _other_uuid(text: str) -> UUID:
    if _UUID.fullmatch(text):  # in braces, for instance; `UUID` alone would also read some texts that differ
        return UUID(text)
    return uuid5(NAMESPACE_OID, text)


def number_of(value: Raw) -> int:
    """Return a number from 1, written as at most ten ASCII digits; 0 for anything else."""
    if value and len(value) <= _MAX_DIGITS and value.isdigit() and value.isascii():
        return int(value)
    return 0


def shown(value: object) -> str:
    """Return a value for a message: quoted, without control characters, cut after 60 characters."""
    text = ascii(value) if isinstance(value, bytes) else repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}... ({len(text):,} characters)"
