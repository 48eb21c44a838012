"""Events to JSON and back, for frozen dataclasses, msgspec Structs and Pydantic models.

An event that `encode` accepts decodes to an equal event, also after PostgreSQL's jsonb has stored it. To ensure that,
`encode` decodes its result and compares the events. msgspec alone would write NaN as null, and a number into a text
field. Two differences are allowed: a datetime of the same instant in the repeated hour at the end of summer time, and
an int in a float field. `decode` refuses NaN and infinity as `encode` does. Pydantic is never imported: its models are
recognised by their methods. docs/events.md lists the types that events may hold.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from eventkit.domain.codec import validation_errors
from eventkit.domain.codec.encoded import Values
from eventkit.domain.codec.finite_numbers import check_of
from eventkit.domain.codec.jsonb import in_jsonb_order, keep_floats
from eventkit.domain.codec.personal import marked, personal_fields, without_member
from eventkit.domain.codec.type_graph import is_pydantic, shape_of, shape_of_model
from eventkit.domain.functions import name_of_class
from eventkit.domain.stream import StreamId
from eventkit.errors import InvalidEvent, UndecodableEvent

_NUL = b"\\u0000"
_PLACE = re.compile(r"field '(\w+)|`\$\.(\w+)")


def _pydantic_json(model: Any) -> str:
    # by_alias: models are read by their aliases; round_trip: without computed fields; warnings: `encode` compares
    text: str = model.model_dump_json(by_alias=True, round_trip=True, warnings=False)
    return text


def _enc_hook(value: Any) -> Any:
    if is_pydantic(type(value)):
        return msgspec.Raw(_pydantic_json(value).encode())
    if isinstance(value, StreamId):
        return str(value)
    raise NotImplementedError(f"no JSON for a {name_of_class(type(value))}")


def _dec_hook(cls: Any, value: Any) -> Any:
    if cls is StreamId:
        return StreamId.parse(value)
    return cls.model_validate_json(msgspec.json.encode(value))  # as JSON: a strict model takes a date's text only there


def _decoder(kind: Any) -> Callable[[bytes | str], Any]:
    return msgspec.json.Decoder(kind, dec_hook=_dec_hook).decode


encode_value: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_enc_hook).encode
_in_order: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_enc_hook, order="deterministic").encode


def _encode_sets(event: Any) -> bytes:
    """Write sets sorted, so that an event's bytes are the same in every process."""
    try:
        return _in_order(event)
    except TypeError:  # another value of the event cannot be sorted
        return encode_value(event)


def _pydantic_bytes(event: Any) -> bytes:
    return _pydantic_json(event).encode()


class Codec:
    """Encode and decode events of one class."""

    __slots__ = ("_cls", "_decode", "_encode", "_exact", "_finite", "_loose", "_ordered", "_pydantic", "personal")

    def __init__(self, cls: type) -> None:
        """Inspect a class; raise CatalogError for a type without JSON, NameError for an annotation not yet defined."""
        self._cls = cls
        self._pydantic = is_pydantic(cls)
        shape = shape_of_model(cls) if self._pydantic else shape_of(cls)
        self._encode: Callable[[Any], bytes] = (
            _pydantic_bytes if self._pydantic else _encode_sets if shape.sets else encode_value
        )
        self._decode: Callable[[bytes | str], Any] = (
            cls.model_validate_json if self._pydantic else _decoder(cls)  # type: ignore[attr-defined]
        )
        self._exact, self._loose, self._ordered = shape.exact, shape.loose, shape.ordered
        self._finite = check_of(cls, floats=self._pydantic)
        self.personal = personal_fields(cls, encode_value, _decoder)

    def encode(self, event: Any) -> bytes:
        """Return the event's JSON; raise InvalidEvent, which names the field and the value, if it cannot be stored."""
        try:
            written = self._encode(event)
            data = keep_floats(written) if self._loose else written
            decoded = self._decode(in_jsonb_order(data) if self._ordered else data)
            same = self._exact and decoded == event
            if same and (again := self._encode(decoded)) != written:
                same = self._is_same(again, written)
            finite = self._finite is None or self._finite(decoded)
        except Exception as error:
            reason = validation_errors.reason(event, error, encode_value)
            if self.personal:
                raise self._unsaid(reason) from None
            raise InvalidEvent(reason) from error
        if not (same and finite) or (_NUL in data and _NUL in data.replace(b"\\\\", b"")):
            self._check_by_field(event, decoded)
        return data

    def _is_same(self, again: bytes, data: bytes) -> bool:
        """Compare the JSON of equal events: an int in a float field is written as a float the second time."""
        return not self._pydantic and again.replace(b".0", b"") == data.replace(b".0", b"")

    def _check_by_field(self, event: Any, decoded: Any) -> None:
        fault = validation_errors.forbidden(event, encode_value) or validation_errors.difference(event, decoded)
        if fault:
            raise self._unsaid(fault) if self.personal else InvalidEvent(f"{type(event).__name__}: {fault}")

    def _unsaid(self, fault: str) -> InvalidEvent:
        """Return an error that names the field, without the value, which may be personal."""
        place = _PLACE.search(fault)
        field = f"field {place[1] or place[2]!r}" if place else "a field"
        return InvalidEvent(
            f"{self._cls.__name__}: {field} holds what JSON or its type does not take; values of an event with "
            "personal data are not shown"
        )

    def redacted(self, data: bytes) -> tuple[bytes, Mapping[str | None, Values]]:
        """Split JSON of `encode` into JSON with redacted values, which must decode, and the personal values."""
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

    @property
    def quick_decode(self) -> Callable[[bytes | str], Any]:
        """`decode` without its sentences: after an error of any type, `decode` says what is wrong."""
        return self.decode if self._finite is not None or self.personal else self._decode

    def decode(self, data: bytes | str) -> Any:
        """Return the event; raise UndecodableEvent if that fails. Fields that the class does not have are ignored."""
        try:
            event = self._decode(data)
            if self._finite is not None and not self._finite(event):
                raise ValueError(validation_errors.not_finite(event))  # noqa: TRY301 one handler for all errors
            return event  # noqa: TRY300 likewise
        except Exception as error:
            if marked(data) and (redacted := without_member(data)) != data:
                return self.decode(redacted)  # the class forbids unknown fields, such as the sealed member
            if self.personal:
                raise UndecodableEvent(
                    f"{self._cls.__name__} cannot be made from its data ({type(error).__name__}), which is not shown: "
                    "it may be personal"
                ) from None
            problem = validation_errors.sentence(error)
            raise UndecodableEvent(
                f"{self._cls.__name__} cannot be made from {validation_errors.shown(data)}: {problem}"
            ) from error
