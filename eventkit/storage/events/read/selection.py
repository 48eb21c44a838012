"""The part to read: which events, between which bounds, and how many a statement."""

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from eventkit.errors import InvalidEvent
from eventkit.storage.db import text_array

BEYOND = 2**63 - 1
BEYOND_VERSION = 2**31 - 1


def check_moment(moment: datetime | None) -> None:
    """Refuse a time without a zone, and other values."""
    if moment is not None and not isinstance(moment, datetime):
        raise InvalidEvent(f"{moment!r} is no datetime: give one with a time zone, such as datetime.now(UTC)")
    if moment is not None and moment.utcoffset() is None:
        raise InvalidEvent(f"{moment} has no time zone: datetime.now(UTC), for instance, has one")


class Chosen(msgspec.Struct, frozen=True):
    """Selects events by type, as (source, name), by category and by the time of recording."""

    types: tuple[tuple[str, str], ...] = ()
    categories: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        for moment in (self.since, self.until):
            check_moment(moment)

    @property
    def match(self) -> str:
        """The condition in SQL."""
        parts = [condition for name, condition in _MATCHES.items() if getattr(self, name)]
        return " and ".join(parts) or "true"

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the condition."""
        return {
            "sources": text_array(source for source, _ in self.types),
            "types": text_array(name for _, name in self.types),
            "categories": text_array(self.categories),
            "since": self.since,
            "until": self.until,
        }


_MATCHES = {
    "types": "(source, type) in (select * from unnest(%(sources)s::text[], %(types)s::text[]))",
    "categories": "split_part(stream, '-', 1) = any(%(categories)s::text[])",
    "since": "recorded_at >= %(since)s::timestamptz",
    "until": "recorded_at < %(until)s::timestamptz",
}
ALL = Chosen()


class Window(msgspec.Struct):
    """The part to read: above `after`, at most `limit` events, `batch` a statement."""

    after: int
    limit: int | None
    batch: int

    def __post_init__(self) -> None:
        for name, lowest, beyond in (("after", 0, BEYOND), ("limit", 0, BEYOND), ("batch", 1, BEYOND_VERSION)):
            value = getattr(self, name)
            if (value is not None or name != "limit") and (type(value) is not int or not lowest <= value < beyond):
                raise InvalidEvent(f"{name}={value!r}: give a whole number of {lowest} to {beyond - 1}")

    @property
    def size(self) -> int:
        """The most events that the next statement may return."""
        return self.batch if self.limit is None else min(self.batch, self.limit)

    def taken(self, count: int) -> bool:
        """Count events; return whether the limit is reached."""
        if self.limit is not None:
            self.limit -= count
        return self.limit == 0


class End(NamedTuple):
    """Where the reading of a stream ends: before a version, after a time."""

    before: int = BEYOND_VERSION
    until: datetime | None = None

    @classmethod
    def of(cls, until: int | datetime | None, before: int | None = None, *, name: str = "until") -> "End":
        """Return the end given by `until`, an inclusive version or time, or by `before`, an exclusive version.

        `name` is that of the caller's argument `until`, for errors.
        """
        if until is not None and before is not None:
            raise InvalidEvent(f"until={until!r} and before={before!r}: give one of them")
        if isinstance(until, datetime):
            check_moment(until)
            return cls(until=until)
        if until is None and before is None:
            return cls()
        last = before if until is None else until
        if type(last) is not int or not 0 <= last < BEYOND_VERSION:
            given = f"before={before!r}" if until is None else f"{name}={until!r}"
            or_time = "" if until is None else ", or a datetime with a time zone"
            raise InvalidEvent(f"{given}: give a version, a whole number from 0 on{or_time}")
        return cls(before=last + (until is not None))


NO_END = End()
