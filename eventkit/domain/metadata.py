"""The metadata of an event: its correlation id, causation id, trace, and the user's own fields.

It is stored as one JSON object: four reserved names beside the user's own. As for events, a value that JSON or
PostgreSQL would change or refuse raises InvalidEvent.
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

RESERVED = ("correlation_id", "causation_id", "traceparent", "tracestate")
MAX_BYTES = 60_000  # an event of the largest size and its metadata stay below a broker's usual 1 MB
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_MAX_ID = 200  # characters
_ID = re.compile(rf"[!-~]{{1,{_MAX_ID}}}")
_PRINTABLE = "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}"  # characters of an id that `quote` must not replace by %xx
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,100})?")
_KEY = r"[a-z0-9][a-z0-9_*/-]{0,240}(@[a-z][a-z0-9_*/-]{0,13})?"
_MEMBER = rf"{_KEY}=[ -+\--<>-~]{{0,255}}[!-+\--<>-~]"
_TRACESTATE = re.compile(rf"(?=.{{1,512}}\Z){_MEMBER}([ \t]*,[ \t]*{_MEMBER}){{0,31}}")  # W3C, members of any vendor
_encode = msgspec.json.Encoder().encode


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """An event's correlation id, causation id, trace, and the user's own fields (`extra`)."""

    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None  # belongs to `traceparent`: the state of tracing systems, passed on unread
    extra: Mapping[str, Any] = _NOTHING

    @classmethod
    def of(cls, fields: "Metadata | Mapping[str, Any] | None") -> "Metadata":
        """Return metadata from a Metadata, or from a mapping of the reserved names and the user's own."""
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
        tracestate: object = None,
        extra: Mapping[str, Any] = _NOTHING,
    ) -> Self:
        """Return valid metadata for any ids from outside, for example from a client's header.

        A valid id is unchanged. Spaces and characters that are not printable ASCII become %xx. A long id is cut, and
        ends with a digest of the whole. An empty id, or an invalid traceparent, becomes None, and so does an invalid
        tracestate, or one without a valid traceparent. Equal ids give equal ids. `extra` is not changed.
        """
        trace, state = _text(traceparent), _text(tracestate).strip()
        is_traced = _TRACEPARENT.fullmatch(trace) is not None
        return cls(
            correlation_id=_fitted(correlation_id),
            causation_id=_fitted(causation_id),
            traceparent=trace if is_traced else None,
            tracestate=state if is_traced and _TRACESTATE.fullmatch(state) else None,
            extra=extra,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the metadata of a text that `to_json` returned."""
        found: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
        known = {name: found.pop(name, None) for name in RESERVED}
        return cls(**known, extra=found or _NOTHING)

    def over(self, base: "Metadata") -> "Metadata":
        """Return these fields, and the fields of `base` that are missing here; a trace is taken whole from one."""
        if base is NONE:
            return self
        traced = self if self.traceparent is not None else base
        return Metadata(
            correlation_id=self.correlation_id if self.correlation_id is not None else base.correlation_id,
            causation_id=self.causation_id if self.causation_id is not None else base.causation_id,
            traceparent=traced.traceparent,
            tracestate=traced.tracestate,
            extra={**base.own(), **self.own()},
        )

    def to_json(self) -> str:
        """Return the JSON object; raise InvalidEvent, which names the field and the value, if it cannot be stored."""
        if self is NONE:
            return "{}"
        known = {name: _checked(name, value) for name in RESERVED if (value := getattr(self, name)) is not None}
        if "tracestate" in known and "traceparent" not in known:
            raise InvalidEvent(
                f"metadata: tracestate is {shown(self.tracestate)} without the traceparent it belongs to"
            )
        return _object({**known, **self.own()})

    def own(self) -> dict[str, Any]:
        """Return the user's own fields; raise InvalidEvent if a name cannot be used."""
        if not _is_mapping(self.extra):
            raise InvalidEvent(f"metadata: extra is {shown(self.extra)}, not a mapping")
        for name in self.extra:
            if type(name) is not str or not name or name in RESERVED:
                msg = f"metadata: the name {name!r} cannot be the user's own"
                raise InvalidEvent(f"{msg}: it is text, not empty, and none of {', '.join(RESERVED)}")
        return dict(self.extra)


NONE = Metadata()
_RULES = {
    "traceparent": (_TRACEPARENT, "00-<32 hex>-<16 hex>-<2 hex>"),
    "tracestate": (_TRACESTATE, "a list of W3C such as vendor=value,other=value, of at most 512 characters"),
}


def _fitted(value: object) -> str | None:
    text = _text(value)
    if not _ID.fullmatch(text):
        text = quote(text, safe=_PRINTABLE, errors="surrogatepass")
    if len(text) > _MAX_ID:
        digest = sha256(text.encode()).hexdigest()
        text = f"{text[: _MAX_ID - len(digest) - 1]}~{digest}"
    return text or None


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)  # ASGI gives headers as bytes


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _checked(name: str, value: object) -> str:
    rule, wanted = _RULES.get(name, (_ID, "1 to 200 printable ASCII characters, no spaces"))
    if isinstance(value, str) and rule.fullmatch(value):
        return value
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
