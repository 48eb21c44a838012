"""Events to JSON and back, for frozen dataclasses, msgspec Structs and Pydantic models.

The promise: what `encode` accepts decodes to an equal event, also after PostgreSQL's jsonb has had it. It is kept by doing it: the
text is decoded and compared before anyone gets it. msgspec alone would write NaN as null and a number into a text field.
Pydantic is never imported: its models are known by their methods. `faults.py` finds the sentence when something is refused.
"""

from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import Any

import msgspec
from msgspec import inspect as types

from eventkit.domain import faults
from eventkit.errors import CatalogError, InvalidEvent, UndecodableEvent

_INFINITY = b'Infinity"'  # Decimals are text in JSON: their infinity is not caught as a number would be
_NUL = b"\\u0000"


def is_pydantic(cls: Any) -> bool:
    """Whether a class is a Pydantic model (version 2)."""
    return isinstance(cls, type) and hasattr(cls, "model_validate_json") and hasattr(cls, "model_dump_json")


def _pydantic_json(model: Any) -> str:
    # by_alias: models are read by their aliases; round_trip: computed fields are not part of what happened
    text: str = model.model_dump_json(by_alias=True, round_trip=True)
    return text


def _enc_hook(value: Any) -> Any:
    if is_pydantic(type(value)):
        return msgspec.Raw(_pydantic_json(value).encode())
    msg = f"no JSON for a {type(value).__module__}.{type(value).__qualname__}"
    raise NotImplementedError(msg)


def _dec_hook(cls: Any, value: Any) -> Any:
    return cls.model_validate_json(msgspec.json.encode(value))  # as JSON: a strict model takes a date's text only there


_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_enc_hook).encode


class Codec:
    """Encodes and decodes one class."""

    __slots__ = ("_cls", "_exact", "decode_unchecked", "encode_unchecked")

    def __init__(self, cls: type) -> None:
        """Prepare a class; CatalogError when JSON cannot hold one of its fields, NameError when an annotation cannot be resolved yet."""
        self._cls = cls
        self._exact = _compares_every_field(cls)
        self.encode_unchecked: Callable[[Any], bytes] = _encode
        self.decode_unchecked: Callable[[bytes | str], Any]
        if is_pydantic(cls):
            self.encode_unchecked = lambda event: _pydantic_json(event).encode()
            self.decode_unchecked = cls.model_validate_json  # type: ignore[attr-defined]
        else:
            self.decode_unchecked = _decoder(cls)

    def encode(self, event: Any) -> bytes:
        """Return the event's JSON, or raise InvalidEvent with the field and the value."""
        try:
            data = self.encode_unchecked(event)
            decoded = self.decode_unchecked(data)
            same = self._exact and decoded == event and self.encode_unchecked(decoded) == data
        except Exception as error:
            raise InvalidEvent(faults.reason(event, error, _encode)) from error
        if not same or _NUL in data or _INFINITY in data:
            self._look_closely(event, decoded)
        return data

    def _look_closely(self, event: Any, decoded: Any) -> None:
        fault = faults.forbidden(event, _encode) or faults.difference(event, decoded)
        if fault:
            raise InvalidEvent(f"{type(event).__name__}: {fault}")

    def decode(self, data: bytes | str) -> Any:
        """Return the event, or raise UndecodableEvent; fields that the class does not have are ignored."""
        try:
            return self.decode_unchecked(data)
        except Exception as error:
            msg = f"{self._cls.__name__} cannot be made from {faults.shown(data)}: {error}"
            raise UndecodableEvent(msg) from error


def _decoder(cls: type) -> Callable[[bytes | str], Any]:
    try:
        for node, path in _nodes(types.type_info(cls), cls.__name__):
            if isinstance(node, types.CustomType) and not is_pydantic(node.cls):
                msg = f"{path} has the type {node.cls.__module__}.{node.cls.__qualname__}, which JSON cannot hold"
                raise CatalogError(msg)
        return msgspec.json.Decoder(cls, dec_hook=_dec_hook).decode
    except TypeError as error:
        msg = f"{cls.__name__} cannot be read back from JSON: {error}"
        raise CatalogError(msg) from error


def _nodes(node: Any, path: str, seen: frozenset[type] = frozenset()) -> Iterator[tuple[types.Type, str]]:
    """Go through a type and all types in it."""
    cls = getattr(node, "cls", None)
    if cls in seen:
        return
    yield node, path
    inside = seen | {cls} if cls else seen
    for field in getattr(node, "fields", ()):
        if isinstance(field, types.Field):
            yield from _nodes(field.type, f"{path}.{field.name}", inside)
    for name in ("item_type", "key_type", "value_type"):
        if isinstance(inner := getattr(node, name, None), types.Type):
            yield from _nodes(inner, path, inside)
    for name in ("item_types", "types"):
        for inner in getattr(node, name, ()):
            yield from _nodes(inner, path, inside)


def _compares_every_field(cls: type) -> bool:
    """Whether `==` is one that we know to look at every field; where it is not, we look ourselves."""
    if is_pydantic(cls):
        return cls.__eq__.__module__.startswith("pydantic.")
    return all(_generated_eq(node.cls) for node, _ in _nodes(types.type_info(cls), "") if hasattr(node, "cls"))


def _generated_eq(cls: Any) -> bool:
    if isinstance(cls, type) and issubclass(cls, msgspec.Struct):
        return cls.__struct_config__.eq and cls.__eq__ is msgspec.Struct.__eq__
    if is_dataclass(cls):
        fields = cls.__dataclass_fields__.values()
        code = getattr(cls.__eq__, "__code__", None)
        return code is not None and code.co_filename == "<string>" and all(field.compare for field in fields)
    return True
