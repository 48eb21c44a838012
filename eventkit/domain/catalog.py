"""The event types of one service, by name, and those of other services that it reads.

The catalog's name is the CloudEvents source of its events and the first part of its topics. Services register their
classes here; append encodes and checks through it, readers decode through it. It holds no state but its types:
registering is done at import.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from typing import Any, NamedTuple, TypeVar, overload
from uuid import UUID

import msgspec

from eventkit.domain.codec import Codec
from eventkit.domain.envelope import EncodedEvent, Envelope, envelope_of
from eventkit.domain.shape import is_pydantic
from eventkit.domain.stream import StreamId, check_category
from eventkit.errors import CatalogError, EventTooLarge, InvalidStreamId, NewerSchema, UnknownEventType

T = TypeVar("T")
DEFAULT_MAX_BYTES = 900_000  # below Kafka's message.max.bytes of 1,048,588 with metadata and headers
MAX_SCHEMA_VERSION = 32_767
_NAME = re.compile(r"[a-z](?:[a-z0-9_.-]{0,62}[a-z0-9_])?")
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,199}")
_SOURCE = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,200}")  # a URI reference, as CloudEvents wants it
_TOPIC = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,248}")


class Encoded(NamedTuple):
    """An event's type and data, checked and ready to be written."""

    type: str
    schema_version: int
    data: str  # JSON


class EventType(msgspec.Struct, frozen=True):
    """A registered type: whose it is, its name, its newest schema version and its class."""

    source: str
    name: str
    version: int
    cls: type


class Catalog:
    """The event types of the service `name`; `topics` overrides the topic `<name>.<category>` of a category."""

    def __init__(
        self, name: str, *, topics: Mapping[str, str] | None = None, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> None:
        """Check the names; `max_bytes` limits the JSON of one event."""
        self.name = _checked(
            name, _NAME, "catalog name", "1 to 64 of a-z, 0-9, `_`, `-` and `.`, beginning with a letter"
        )
        self.max_bytes = max_bytes
        self._topics = {_category(category): check_topic(topic) for category, topic in (topics or {}).items()}
        self._types: dict[tuple[str, str], EventType] = {}
        self._classes: dict[type, EventType] = {}
        self._codecs: dict[type, Codec] = {}

    def __repr__(self) -> str:
        """Show the name and how many types there are."""
        return f"<Catalog {self.name!r} with {len(self._types)} event types>"

    @overload
    def event(self, cls: type[T], /) -> type[T]: ...
    @overload
    def event(self, /, *, name: str | None = None, version: int = 1) -> Callable[[type[T]], type[T]]: ...
    def event(self, cls: type[T] | None = None, /, *, name: str | None = None, version: int = 1) -> Any:
        """Register a class as an event type of this service, by its own name unless `name` says another."""

        def register(cls: type[T]) -> type[T]:
            self._register(self.name, getattr(cls, "__name__", repr(cls)) if name is None else name, cls, version)
            return cls

        return register if cls is None else register(cls)

    def consumes(self, source: str, name: str, cls: type, *, version: int = 1) -> None:
        """Register the class that another service's events are read into; they cannot be appended here."""
        if source == self.name:
            msg = f"{name!r} is an event of {source!r} itself: register {cls!r} with @event"
            raise CatalogError(msg)
        self._register(_checked(source, _SOURCE, "source", "1 to 200 of the characters of a URI"), name, cls, version)

    def stream(self, category: str, key: str | int | UUID) -> StreamId:
        """Return the id of the stream of one thing: `shop.stream("order", 42)` is `order-42`."""
        return StreamId(category, key)

    def topic(self, stream: str) -> str:
        """Return the topic that a stream's events go to."""
        category = stream.partition("-")[0]
        return self._topics.get(category) or f"{self.name}.{category}"

    def topics_of(self, categories: Iterable[str]) -> list[str]:
        """Return the topics of some categories, each once, sorted."""
        return sorted({self.topic(_category(category)) for category in categories})

    @property
    def types(self) -> tuple[EventType, ...]:
        """All registered types."""
        return tuple(self._types.values())

    def knows(self, source: str, name: str) -> bool:
        """Whether events of this type can be decoded."""
        return (source, name) in self._types

    def type_of(self, cls: type) -> EventType:
        """Return the type that a class is registered as, or raise UnknownEventType."""
        found = self._classes.get(cls)
        if found is None:
            msg = f"{cls!r} is not in the catalog {self.name!r}: register it with the catalog's @event"
            raise UnknownEventType(f"{msg}; known are {self._known()}")
        return found

    def encode(self, event: object) -> Encoded:
        """Check an event and return its type and JSON; InvalidEvent says the field and the value."""
        cls = type(event)
        kind = self._classes.get(cls) or self.type_of(cls)
        if kind.source != self.name:
            msg = f"{cls.__name__} is an event of {kind.source!r}, which {self.name!r} only consumes"
            raise UnknownEventType(f"{msg}: record an event of {self.name!r} instead")
        data = self._codec(cls).encode(event)
        if len(data) > self.max_bytes:
            msg = f"{kind.name} has {len(data):,} bytes of JSON, the limit is {self.max_bytes:,}"
            raise EventTooLarge(
                f"{msg}: store the bulk elsewhere and record a reference, or raise the catalog's max_bytes"
            )
        return Encoded(kind.name, kind.version, data.decode())

    def decoder(self, source: str, name: str, schema_version: int) -> Callable[[bytes | str], Any]:
        """Return the function that makes events of one type from JSON; keep it, it spares the look-up."""
        kind = self._types.get((source, name))
        if kind is None:
            msg = f"event type {name!r} of {source!r} is not in the catalog {self.name!r}: register it"
            raise UnknownEventType(f"{msg}; known are {self._known()}")
        if schema_version > kind.version:
            msg = f"{name!r} of {source!r} was written with schema version {schema_version}"
            raise NewerSchema(f"{msg}, this code knows up to {kind.version}: update this code first")
        return self._codec(kind.cls).decode

    def decode_data(self, source: str, name: str, schema_version: int, data: bytes | str) -> Any:
        """Make an event from its JSON: UnknownEventType, NewerSchema or UndecodableEvent when that cannot be done."""
        return self.decoder(source, name, schema_version)(data)

    def decode(self, encoded: EncodedEvent) -> Envelope[Any]:
        """Make an envelope from an event that was stored or received."""
        event = self.decoder(encoded.source, encoded.type, encoded.schema_version)(encoded.data)
        return envelope_of(event, encoded)

    def _register(self, source: str, name: str, cls: type, version: int) -> None:
        _checked(
            name, _TYPE, "event type", "1 to 200 of A-Z, a-z, 0-9, `_`, `.`, `:`, `/` and `-`, beginning with a letter"
        )
        if type(version) is not int or not 1 <= version <= MAX_SCHEMA_VERSION:
            msg = (
                f"event type {name!r} has the schema version {version!r}: it is a number from 1 to {MAX_SCHEMA_VERSION}"
            )
            raise CatalogError(msg)
        _check_class(cls)
        for taken in (self._types.get((source, name)), self._classes.get(cls)):
            if taken:
                msg = f"{cls!r} cannot be {name!r} of {source!r}"
                raise CatalogError(f"{msg}: {taken.cls!r} is already registered as {taken.name!r} of {taken.source!r}")
        with suppress(
            NameError
        ):  # an annotation names a class that comes later, or this one: prepared at its first use
            self._codecs[cls] = Codec(cls)
        self._types[source, name] = self._classes[cls] = EventType(source, name, version, cls)

    def _codec(self, cls: type) -> Codec:
        codec = self._codecs.get(cls)
        if codec is None:
            try:
                codec = self._codecs[cls] = Codec(cls)
            except NameError as error:
                msg = f"an annotation of {cls!r} cannot be resolved: {error}"
                raise CatalogError(msg) from error
        return codec

    def _known(self) -> str:
        return ", ".join(sorted(f"{name!r} of {source!r}" for source, name in self._types)) or "none"


def _checked(name: object, rule: re.Pattern[str], what: str, sentence: str) -> str:
    if isinstance(name, str) and rule.fullmatch(name):
        return name
    msg = f"{what} {name!r} breaks the rule: {sentence}"
    raise CatalogError(msg)


def _category(category: object) -> str:
    try:
        return check_category(category)
    except InvalidStreamId as error:
        raise CatalogError(str(error)) from error


def check_topic(topic: object) -> str:
    """Return a topic's name, or refuse it."""
    return _checked(topic, _TOPIC, "topic", "1 to 249 of A-Z, a-z, 0-9, `.`, `_` and `-`, not beginning with a dot")


def _is_frozen(cls: Any) -> bool:
    return bool(cls.__dataclass_params__.frozen)


def _check_class(cls: Any) -> None:
    if not isinstance(cls, type) or not (is_dataclass(cls) or issubclass(cls, msgspec.Struct) or is_pydantic(cls)):
        msg = f"{cls!r} cannot be an event: make it a @dataclass(frozen=True), a msgspec.Struct or a Pydantic model"
        raise CatalogError(msg)
    if is_dataclass(cls) and not _is_frozen(cls):
        msg = f"{cls!r} is not frozen, but what happened does not change: @dataclass(frozen=True)"
        raise CatalogError(msg)
