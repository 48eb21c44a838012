"""Which fields of an event hold personal data, whose they are, and what they read as when that person is forgotten.

    email: Annotated[str, Personal(subject="customer_id", kind="customer")]

The value is stored encrypted with a key of its subject, beside the event's other data, and its redacted value stands in
its place: who has no key, or reads after the key is gone, decodes the same JSON with the same class. Only fields of the
event itself can be marked; a field may hold a whole address or list.
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

MEMBER = "$personal"  # of an event's JSON: what is sealed, by subject
_MEMBER_BYTES = MEMBER.encode()
_UNSAID: Any = object()
_CANDIDATES = (b"null", b'"[redacted]"')
_NULL = b"null"
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

Decoder = Callable[[bytes], Any]


class Personal:
    """Marks a field as personal data: `Annotated[str, Personal(...)]`.

    `subject` names the field that says whose it is; without it, the event's stream does. With a `kind` the subject of
    42 is `kind-42`, as a stream would name it. `redacted` is what the field reads as once the subject is forgotten:
    None or `[redacted]` where the field can hold that.
    """

    __slots__ = ("kind", "redacted", "subject")

    def __init__(self, *, subject: str | None = None, kind: str | None = None, redacted: Any = _UNSAID) -> None:
        self.subject = subject
        self.kind = kind
        self.redacted = redacted


class PersonalField(NamedTuple):
    """A marked field by its names in JSON: its own, and that of the field that names its subject."""

    name: str
    subject: str | None
    kind: str | None
    redacted: bytes  # JSON

    @property
    def whose(self) -> str:
        """Say whose it is: the stream's, or an id in a field, perhaps of a kind."""
        subject = f"<{self.subject}>" if self.subject else "<stream>"
        return f"{self.kind}-{subject}" if self.kind else subject

    def subject_in(self, event: str, fields: Values) -> str | None:
        """Return whose value it is; None where the stream says it. InvalidEvent where nobody does."""
        if self.subject is None:
            return None
        value = msgspec.json.decode(fields.get(self.subject, _NULL))
        text = str(value) if type(value) in (str, int) else ""
        if not is_key(text):
            raise InvalidEvent(
                f"{event}: field {self.subject!r} says whose personal data {self.name!r} is, and holds no id: give it "
                "one, text of 1 to 200 characters or a number"
            )
        return f"{self.kind}-{text}" if self.kind else text


class PersonalFields(NamedTuple):
    """The marked fields of one class."""

    event: str
    fields: tuple[PersonalField, ...]

    def split(self, data: bytes) -> tuple[bytes, Mapping[str | None, Values]]:
        """Return JSON with redacted values, and what must be sealed, by subject; what is null or redacted stays."""
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
    """Find the marked fields of a class, None where there is none; CatalogError says what is wrong with a mark."""
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
        raise CatalogError(f"{field} can hold neither None nor '[redacted]': say what it shall, Personal(redacted=…)")
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
    except Exception:  # noqa: BLE001 whatever a type's own validator raises
        return False
    return True


def _check_class(cls: Any) -> None:
    config = getattr(cls, "__struct_config__", None)
    if config is not None and config.array_like:
        raise CatalogError(f"{cls.__name__} has personal fields and is array_like: its fields need their names in JSON")


def _names(cls: Any) -> dict[str, str]:
    """Return the fields of a record, each with its name in JSON; nothing of other types."""
    if is_pydantic(cls):
        return {name: field.serialization_alias or field.alias or name for name, field in cls.model_fields.items()}
    if issubclass(cls, msgspec.Struct):
        return {field.name: field.encode_name for field in msgspec.structs.fields(cls)}
    return {field.name: field.name for field in dataclass_fields(cls)} if is_dataclass(cls) else {}


def _pydantic_decoder(hint: Any) -> Decoder:
    decode: Decoder = sys.modules["pydantic"].TypeAdapter(hint).validate_json
    return decode


def without_member(data: bytes | str) -> bytes:
    """Return an event's JSON as its class alone would write it, redacted."""
    fields = _object(data)
    fields.pop(MEMBER, None)
    return msgspec.json.encode(fields)


def marked(data: bytes | str) -> bool:
    """Whether JSON may have something sealed: quick, and never wrong in saying no."""
    return (MEMBER if isinstance(data, str) else _MEMBER_BYTES) in data  # type: ignore[operator]  # each in its own kind
