"""The story of an event: which conversation it belongs to, what caused it, its trace, and the user's own fields.

Stored as one JSON object: the three reserved names beside the user's own. The same rules hold as for events: what JSON
or PostgreSQL would change or refuse is an InvalidEvent here.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import quote

import msgspec

from eventkit.domain.codec import difference, exceeds, forbidden, keep_floats, shown, stored_size
from eventkit.errors import EventTooLarge, InvalidEvent

RESERVED = ("correlation_id", "causation_id", "traceparent")
MAX_BYTES = 60_000  # with the event's limit it stays below a broker's usual 1 MB
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_LONGEST = 200
_ID = re.compile(rf"[!-~]{{1,{_LONGEST}}}")
_PRINTABLE = "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}"  # what `quote` would write as %xx, and an id may hold
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,100})?")
_encode = msgspec.json.Encoder().encode


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """Where an event came from: the ids of its story, of its cause, its trace, and the user's own fields."""

    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    extra: Mapping[str, Any] = _NOTHING

    @classmethod
    def of(cls, fields: "Metadata | Mapping[str, Any] | None") -> "Metadata":
        """Take metadata as it is, or as a mapping of the reserved names and the user's own."""
        if fields is None:
            return NONE
        if isinstance(fields, Metadata):
            return fields
        if not _is_mapping(fields):
            raise InvalidEvent(f"metadata {shown(fields)} is neither a Metadata nor a mapping")
        extra = {name: value for name, value in fields.items() if name not in RESERVED}
        return cls(**{name: fields[name] for name in RESERVED if name in fields}, extra=extra)

    @classmethod
    def fitting(
        cls,
        *,
        correlation_id: object = None,
        causation_id: object = None,
        traceparent: object = None,
        extra: Mapping[str, Any] = _NOTHING,
    ) -> Self:
        """Make metadata of ids that come from outside, in a client's header for instance, whatever they hold.

        An id that fits stays as it is. Spaces and characters that are not printable ASCII become %xx; an id that is too
        long is cut and ends with a digest of the whole; an empty one is None. A traceparent that is none is None. Equal
        ids give equal ids. `extra` is the caller's own and is not changed.
        """
        trace = _text(traceparent)
        return cls(
            correlation_id=_fitted(correlation_id),
            causation_id=_fitted(causation_id),
            traceparent=trace if _TRACEPARENT.fullmatch(trace) else None,
            extra=extra,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        found: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
        known = {name: found.pop(name, None) for name in RESERVED}
        return cls(**known, extra=found or _NOTHING)

    def over(self, base: "Metadata") -> "Metadata":
        """Return these fields, and those of `base` that are not among them."""
        if base is NONE:
            return self
        return Metadata(
            correlation_id=self.correlation_id if self.correlation_id is not None else base.correlation_id,
            causation_id=self.causation_id if self.causation_id is not None else base.causation_id,
            traceparent=self.traceparent if self.traceparent is not None else base.traceparent,
            extra={**base.own(), **self.own()},
        )

    def to_json(self) -> str:
        """Return the JSON object, checked; InvalidEvent says the name and the value."""
        if self is NONE:
            return "{}"
        known = {name: _checked(name, value) for name in RESERVED if (value := getattr(self, name)) is not None}
        return _object({**known, **self.own()})

    def own(self) -> dict[str, Any]:
        """Return the user's own fields, checked: InvalidEvent says the name."""
        if not _is_mapping(self.extra):
            raise InvalidEvent(f"metadata: extra is {shown(self.extra)}, not a mapping")
        for name in self.extra:
            if type(name) is not str or not name or name in RESERVED:
                msg = f"metadata: the name {name!r} cannot be the user's own"
                raise InvalidEvent(f"{msg}: it is text, not empty, and none of {', '.join(RESERVED)}")
        return dict(self.extra)


NONE = Metadata()


def _fitted(value: object) -> str | None:
    text = _text(value)
    if not _ID.fullmatch(text):
        text = quote(text, safe=_PRINTABLE, errors="surrogatepass")
    if len(text) > _LONGEST:
        digest = sha256(text.encode()).hexdigest()
        text = f"{text[: _LONGEST - len(digest) - 1]}~{digest}"
    return text or None


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)  # bytes: a header's, in ASGI


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _checked(name: str, value: object) -> str:
    rule = _TRACEPARENT if name == "traceparent" else _ID
    if isinstance(value, str) and rule.fullmatch(value):
        return value
    wanted = (
        "00-<32 hex>-<16 hex>-<2 hex>" if rule is _TRACEPARENT else "1 to 200 printable ASCII characters, no spaces"
    )
    raise InvalidEvent(f"metadata: {name} is {shown(value)}, not {wanted}")


def _object(fields: dict[str, Any]) -> str:
    try:
        data = keep_floats(_encode(fields))
        back = msgspec.json.decode(data)
    except Exception as error:
        raise InvalidEvent(f"metadata: {forbidden(fields, _encode) or error}") from error
    if back != fields or b"\\u0000" in data:
        fault = forbidden(fields, _encode) or difference(fields, back)
        if fault:
            raise InvalidEvent(f"metadata: {fault}")
    if exceeds(data, MAX_BYTES):
        raise EventTooLarge(
            f"metadata has {stored_size(data):,} bytes of JSON as PostgreSQL keeps and sends it, the limit is "
            f"{MAX_BYTES:,}"
        )
    return data.decode()
