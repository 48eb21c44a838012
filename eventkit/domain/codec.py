"""Events to JSON and back, for frozen dataclasses, msgspec Structs and Pydantic models.

The promise: what `encode` accepts decodes to an equal event, also after PostgreSQL's jsonb has had it. It is kept by
doing it: the text is decoded and compared before anyone gets it. msgspec alone would write NaN as null and a number
into a text field. Two things count as equal: a datetime in the repeated hour at the end of summer time, if it is the
same instant, and an int in a float field. Pydantic is never imported: its models are known by their methods.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from eventkit.domain import faults
from eventkit.domain.encoded import Values
from eventkit.domain.personal import marked, personal_fields, without_member
from eventkit.domain.shape import is_pydantic, shape_of
from eventkit.domain.stream import StreamId
from eventkit.errors import InvalidEvent, UndecodableEvent

_INFINITY = b'Infinity"'  # Decimals are text in JSON: their infinity is not caught as a number would be
_NUL = b"\\u0000"
_PLACE = re.compile(r"field '(\w+)|`\$\.(\w+)")
_EXPONENT = re.compile(rb"\de\+?\d")
_FIRST_EXPONENT = 1e16


def _pydantic_json(model: Any) -> str:
    # by_alias: models are read by their aliases; round_trip: computed fields are no part of it; warnings: we compare
    text: str = model.model_dump_json(by_alias=True, round_trip=True, warnings=False)
    return text


def _enc_hook(value: Any) -> Any:
    if is_pydantic(type(value)):
        return msgspec.Raw(_pydantic_json(value).encode())
    if isinstance(value, StreamId):
        return str(value)
    msg = f"no JSON for a {type(value).__module__}.{type(value).__qualname__}"
    raise NotImplementedError(msg)


def _dec_hook(cls: Any, value: Any) -> Any:
    if cls is StreamId:
        return StreamId.parse(value)
    return cls.model_validate_json(msgspec.json.encode(value))  # as JSON: a strict model takes a date's text only there


def _decoder(kind: Any) -> Callable[[bytes | str], Any]:
    return msgspec.json.Decoder(kind, dec_hook=_dec_hook).decode


_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_enc_hook).encode


class Codec:
    """Encodes and decodes one class."""

    __slots__ = ("_cls", "_decode", "_encode", "_exact", "_loose", "personal")

    def __init__(self, cls: type) -> None:
        """Prepare a class; CatalogError when a field cannot be held, NameError when a name in it is not there yet."""
        self._cls = cls
        self._encode: Callable[[Any], bytes] = _encode
        self._decode: Callable[[bytes | str], Any]
        if is_pydantic(cls):
            self._encode = lambda event: _pydantic_json(event).encode()
            self._decode = cls.model_validate_json  # type: ignore[attr-defined]
            self._exact, self._loose = cls.__eq__.__module__.startswith("pydantic."), True
        else:
            shape = shape_of(cls)
            self._decode = _decoder(cls)
            self._exact, self._loose = shape.exact, shape.loose
        self.personal = personal_fields(cls, _encode, _decoder)

    def encode(self, event: Any) -> bytes:
        """Return the event's JSON, or raise InvalidEvent with the field and the value."""
        try:
            data = self._encode(event)
            decoded = self._decode(data)
            same = self._exact and decoded == event and self._encode(decoded) == data
        except Exception as error:
            reason = faults.reason(event, error, _encode)
            if self.personal:
                raise self._unsaid(reason) from None
            raise InvalidEvent(reason) from error
        if not same or _NUL in data or _INFINITY in data:
            self._look_closely(event, decoded)
        if self._loose and _EXPONENT.search(data):
            self._look_closely(event, self._decode(_after_jsonb(data)))
        return data

    def _look_closely(self, event: Any, decoded: Any) -> None:
        fault = faults.forbidden(event, _encode) or faults.difference(event, decoded)
        if fault:
            raise self._unsaid(fault) if self.personal else InvalidEvent(f"{type(event).__name__}: {fault}")

    def _unsaid(self, fault: str) -> InvalidEvent:
        """Say where the fault is; what it is would show a value, which may be personal."""
        place = _PLACE.search(fault)
        field = f"field {place[1] or place[2]!r}" if place else "a field"
        return InvalidEvent(
            f"{self._cls.__name__}: {field} holds what JSON or its type does not take; values of an event with "
            "personal data are not shown"
        )

    def redacted(self, data: bytes) -> tuple[bytes, Mapping[str | None, Values]]:
        """Return what `encode` returned with redacted values, checked that it can be read, and the personal ones."""
        if self.personal is None:
            return data, {}
        redacted, personal = self.personal.split(data)
        try:
            self._decode(redacted)
        except Exception as error:
            raise InvalidEvent(
                f"{self._cls.__name__} could not be read once its subject is forgotten: the redacted values break a "
                f"rule of the class ({type(error).__name__})"
            ) from error
        return redacted, personal

    def decode(self, data: bytes | str) -> Any:
        """Return the event, or raise UndecodableEvent; fields that the class does not have are ignored."""
        try:
            return self._decode(data)
        except Exception as error:
            if marked(data) and (redacted := without_member(data)) != data:
                return self.decode(redacted)  # the class forbids what it does not know
            if self.personal:
                raise UndecodableEvent(
                    f"{self._cls.__name__} cannot be made from its data ({type(error).__name__}), which is not shown: "
                    "it may be personal"
                ) from None
            problem = faults.sentence(error)
            raise UndecodableEvent(
                f"{self._cls.__name__} cannot be made from {faults.shown(data)}: {problem}"
            ) from error


def _after_jsonb(data: bytes) -> bytes:
    """Return JSON as PostgreSQL gives it back: its numbers have no exponent, so 1e16 has become an integer."""
    return _encode(_without_exponents(msgspec.json.decode(data)))


def _without_exponents(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) >= _FIRST_EXPONENT:
        return int(Decimal(repr(value)))
    if isinstance(value, dict):
        return {key: _without_exponents(part) for key, part in value.items()}
    return [_without_exponents(part) for part in value] if isinstance(value, list) else value
