"""An event that is ready to be written: checked, its data in JSON; personal values are separate until encrypted."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from eventkit.domain.codec.jsonb import exceeds, stored_size
from eventkit.errors import EventTooLarge

Values = Mapping[str, msgspec.Raw]
"""JSON by the name of the field."""


_SUBJECT_OVERHEAD, _FIELD_OVERHEAD = 500, 100  # bytes for the names of a subject and a field, nonce and tag


class Encoded(NamedTuple):
    """An event's type and data, checked and ready to be written."""

    type: str
    schema_version: int
    data: str  # JSON
    tags: tuple[str, ...] = ()

    def tagged(self, tags: Iterable[str]) -> "Encoded":
        """Return the event with more tags."""
        return self._replace(tags=tuple(sorted({*self.tags, *tags})))


def check_size(event: str, data: bytes, limit: int, *, sealed: int = 0) -> None:
    """Raise EventTooLarge if an event's JSON, as PostgreSQL stores it, and `sealed` bytes exceed the limit."""
    if exceeds(data, limit - sealed):
        raise EventTooLarge(
            f"{event} has {stored_size(data) + sealed:,} bytes of JSON as PostgreSQL keeps and sends it, the limit is "
            f"{limit:,}: store the bulk elsewhere and record a reference, or raise the catalog's max_bytes"
        )


def sealed_size(personal: Mapping[str | None, Values]) -> int:
    """Return the largest size in bytes of encrypted personal values: base64 adds a third, names and nonces the rest."""
    values = [len(bytes(value)) + _FIELD_OVERHEAD for values in personal.values() for value in values.values()]
    return len(personal) * _SUBJECT_OVERHEAD + sum(values) * 4 // 3


class Sealable(Encoded):
    """An event with personal values: `data` has them redacted, and `repr` does not show them."""

    _personal: Mapping[str | None, Values]  # by subject; None is the stream's

    @classmethod
    def of(cls, encoded: Encoded, personal: Mapping[str | None, Values]) -> "Sealable":
        """Return an event with its personal values."""
        sealable = cls(*encoded)
        sealable._personal = personal
        return sealable

    def tagged(self, tags: Iterable[str]) -> "Encoded":
        """Return the event with more tags, and its personal values."""
        return Sealable.of(super().tagged(tags), self._personal)

    def personal(self, stream: str) -> dict[str, dict[str, msgspec.Raw]]:
        """Return the personal values of each subject, for an event of this stream."""
        found: dict[str, dict[str, msgspec.Raw]] = {}
        for subject, values in self._personal.items():
            found.setdefault(str(stream) if subject is None else subject, {}).update(values)
        return found
