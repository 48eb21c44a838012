"""Fields of an event that hold personal data: their subject, and their value once that person is forgotten.

    email: Annotated[str, Personal(subject="customer_id", kind="customer")]

The value is stored encrypted with its subject's key, beside the event's other data, and the field itself holds the
redacted value. So a reader without the key decodes the same JSON with the same class. Only fields of the event itself
can be marked; a field may hold a whole address or list.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from eventkit.domain.codec.encoded import Values
from eventkit.domain.codec.type_graph import is_pydantic
from eventkit.domain.stream import is_key
from eventkit.errors import CatalogError, InvalidEvent

MEMBER = "$personal"  # the member of an event's JSON with the encrypted values, by subject
_MEMBER_BYTES = MEMBER.encode()
_UNSAID: Any = object()
_CANDIDATES = (b"null", b'"[redacted]"')
_NULL = b"null"
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

Decoder = Callable[[bytes], Any]


class Personal:
    """Mark a field as personal data: `Annotated[str, Personal(...)]`.

    `subject` names the field with the subject's id; without it, the event's stream is the subject. With a `kind`, the
    subject of 42 is `kind-42`, in the form of a stream. `redacted` is the field's value once the subject is forgotten;
    the default is None or `[redacted]`, if the field can hold it.
    """

    __slots__ = ("kind", "redacted", "subject")

    def __init__(self, *, subject: str | None = None, kind: str | None = None, redacted: Any = _UNSAID) -> None:
        self.subject = subject
        self.kind = kind
        self.redacted = redacted


class PersonalField(NamedTuple):
    """A marked field: its name in JSON, and the name of the field with its subject."""

    name: str
    subject: str | None
    kind: str | None
    redacted: bytes  # JSON

    @property
    def whose(self) -> str:
        """The subject in a message: `<stream>`, or `<field>`, with the kind before it."""
        subject = f"<{self.subject}>" if self.subject else "<stream>"
        return f"{self.kind}-{subject}" if self.kind else subject

    def subject_in(self, event: str, fields: Values) -> str | None:
        """Return the subject; None if it is the stream. Raise InvalidEvent if the field holds no id."""
        if self.subject is None:
            return None
        value = msgspec.json.decode(fields.get(self.subject, _NULL))
        text = str(value) if type(value) in (str, int) else ""
        if not is_key(text):
            raise InvalidEvent(
                f"{event}: field {self.subject!r} must name the subject of the personal data in {self.name!r}, but "
                "holds no id: give text of 1 to 200 characters or a number"
            )
        return f"{self.kind}-{text}" if self.kind else text


class PersonalFields(NamedTuple):
    """The marked fields of one class."""

    event: str
    fields: tuple[PersonalField, ...]

    def split(self, data: bytes) -> tuple[bytes, Mapping[str | None, Values]]:
        """Return JSON with redacted values, and the personal values by subject, except null and redacted ones."""
        values = _object(data)
        personal: dict[str | None, dict[str, msgspec.Raw]] = {}
        for field in self.fields:
            value = bytes(values.get(field.name, _NULL))
            if value not in (_NULL, field.redacted):
                personal.setdefault(field.subject_in(self.event, values), {})[field.name] = msgspec.Raw(value)
        for taken in personal.values():
            values.update({field.name: msgspec.Raw(field.redacted) for field in self.fields if field.name in taken})
        if MEMBER in values:
            raise InvalidEvent(f"{self.event}: {MEMBER!r} cannot be a field of an event with personal data")
        return (msgspec.json.encode(values) if personal else data), personal


def personal_fields(
    cls: Any, encode: Callable[[Any], bytes], decoder: Callable[[Any], Decoder]
) -> PersonalFields | None:
    """Return the marked fields of a class, None if there are none; raise CatalogError if a mark is wrong."""
    hints = get_type_hints(cls, include_extras=True)
    marks = {name: mark for name, hint in hints.items() if (mark := _mark(hint)) is not None}
    for name, hint in hints.items():
        if name not in marks and _has_mark(hint, set()):
            raise CatalogError(
                f"{cls.__name__}.{name} has Personal(…) inside of its type: mark the field itself, "
                "Annotated[<its whole type>, Personal(…)]"
            )
    if not marks:
        return None
    _check_class(cls)
    names = _names(cls)
    decoder = _pydantic_decoder if is_pydantic(cls) else decoder
    found = []
    for name, mark in marks.items():
        redacted = _redacted(f"{cls.__name__}.{name}", mark.redacted, encode, decoder(hints[name]))
        found.append(PersonalField(names[name], _subject(cls, mark, marks, names), mark.kind, redacted))
    return PersonalFields(cls.__name__, tuple(found))


def _mark(hint: Any) -> Personal | None:
    parts = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    marks = [part for part in parts if isinstance(part, Personal)]
    if any(part is Personal for part in parts):
        raise CatalogError(f"{hint} is marked with the class Personal: write Personal()")
    return marks[-1] if marks else None


def _has_mark(hint: Any, seen: set[Any]) -> bool:
    if _mark(hint) is not None:
        return True
    inner = list(get_args(hint))
    if isinstance(hint, type) and hint not in seen and _names(hint):
        seen.add(hint)
        inner += get_type_hints(hint, include_extras=True).values()
    return any(_has_mark(part, seen) for part in inner if part is not hint)


def _subject(cls: type, mark: Personal, marks: Mapping[str, Personal], names: Mapping[str, str]) -> str | None:
    if mark.kind is not None and not (mark.subject and is_key(mark.kind)):
        raise CatalogError(
            f"{cls.__name__} has Personal(kind={mark.kind!r}): a kind goes before the id in a subject field"
        )
    if mark.subject is None:
        return None
    if mark.subject not in names or mark.subject in marks:
        wrong = "is personal itself" if mark.subject in marks else "is no field"
        raise CatalogError(
            f"{cls.__name__} has Personal(subject={mark.subject!r}), which {wrong}: name the field of the subject's id"
        )
    return names[mark.subject]


def _redacted(field: str, redacted: Any, encode: Callable[[Any], bytes], decode: Decoder) -> bytes:
    if redacted is _UNSAID:
        for candidate in _CANDIDATES:
            if _reads(candidate, decode):
                return candidate
        raise CatalogError(f"{field} can hold neither None nor '[redacted]': give a value, Personal(redacted=…)")
    try:
        data = encode(redacted)
        same = decode(data) == redacted
    except Exception as error:
        raise CatalogError(f"{field} cannot hold redacted={redacted!r}: {error}") from error
    if not same:
        raise CatalogError(f"{field} has redacted={redacted!r}, which would be read back as something else")
    return data


def _reads(data: bytes, decode: Decoder) -> bool:
    try:
        decode(data)
    except Exception:  # noqa: BLE001 a type's own validator may raise anything
        return False
    return True


def _check_class(cls: Any) -> None:
    config = getattr(cls, "__struct_config__", None)
    if config is not None and config.array_like:
        raise CatalogError(f"{cls.__name__} has personal fields and is array_like: its fields need their names in JSON")


def _names(cls: Any) -> dict[str, str]:
    """Return the fields of a record, each with its name in JSON; an empty dict for other types."""
    if is_pydantic(cls):
        return {name: field.serialization_alias or field.alias or name for name, field in cls.model_fields.items()}
    if issubclass(cls, msgspec.Struct):
        return {field.name: field.encode_name for field in msgspec.structs.fields(cls)}
    return {field.name: field.name for field in dataclass_fields(cls)} if is_dataclass(cls) else {}


def _pydantic_decoder(hint: Any) -> Decoder:
    decode: Decoder = sys.modules["pydantic"].TypeAdapter(hint).validate_json
    return decode


def without_member(data: bytes | str) -> bytes:
    """Return an event's JSON without the member of encrypted values."""
    fields = _object(data)
    fields.pop(MEMBER, None)
    return msgspec.json.encode(fields)


def marked(data: bytes | str) -> bool:
    """Return whether JSON may have encrypted values: fast; it may be wrong if True, and never if False."""
    return (MEMBER if isinstance(data, str) else _MEMBER_BYTES) in data  # type: ignore[operator]  # both str or both bytes
