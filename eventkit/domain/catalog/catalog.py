"""The event types of one service, by name, and those of other services that it reads.

The catalog's name is the CloudEvents source of its events and the first part of its topics. Services register their
classes here at import, with the upcasters from older schema versions. Append encodes and checks events by the catalog,
readers decode by it. At its first use, and when an `EventStore` or a projector gets it, `check_chains` refuses a type
whose old events lack an upcaster.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar, overload
from uuid import UUID

from eventkit.domain.catalog.event_type import EventType, names_before
from eventkit.domain.catalog.names import category_of, check_name, check_source, check_topic, check_type
from eventkit.domain.catalog.upcasting import Upcaster, Upcasters, changed_fields
from eventkit.domain.codec import MAX_GROWTH, Codec, Encoded, PersonalField, Sealable, check_size, sealed_size
from eventkit.domain.envelope import EncodedEvent, Envelope, envelope_of
from eventkit.domain.stream import StreamId
from eventkit.domain.tags import TagsOf, check_tags, tags_from
from eventkit.errors import CatalogError, NewerSchema, UndecodableEvent, UnknownEventType

T = TypeVar("T")
U = TypeVar("U", bound=Upcaster)
DEFAULT_MAX_BYTES = 900_000  # below Kafka's message.max.bytes of 1,048,588 with metadata and headers


class Catalog:
    """The event types of the service `name`.

    `topics` overrides the topic `<name>.<category>` of a category. With None as its topic, or `published=False` for
    all, the events go to no broker: no row of the outbox is written, and projectors read them from the store.
    `max_bytes` limits the JSON of one event.
    """

    def __init__(
        self,
        name: str,
        *,
        topics: Mapping[str, str | None] | None = None,
        published: bool = True,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self.name = check_name(name)
        self.max_bytes = max_bytes
        given = {category_of(category): topic for category, topic in (topics or {}).items()}
        self._topics = {category: check_topic(topic) for category, topic in given.items() if topic is not None}
        self._unpublished = frozenset(category for category, topic in given.items() if topic is None)
        self.published = published
        self._types: dict[tuple[str, str], EventType] = {}
        self._classes: dict[type, EventType] = {}
        self._prepared: dict[type, Codec] = {}
        self._codecs: dict[type, Codec] = {}  # filled at first use, after the chains were checked
        self._upcasters = Upcasters()
        self._retired: set[str] = set()
        self.has_personal = False  # whether an event with personal fields is in use

    def __repr__(self) -> str:
        return f"<Catalog {self.name!r} with {len(self._classes)} event types>"

    @overload
    def event(self, cls: type[T], /) -> type[T]: ...
    @overload
    def event(
        self,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        oldest: int = 1,
        renamed_from: str | Iterable[str] = (),
        tags: TagsOf | Iterable[str] | None = None,
        category: str | None = None,
    ) -> Callable[[type[T]], type[T]]: ...
    def event(  # noqa: PLR0913 the options of a type, each by its name
        self,
        cls: type[T] | None = None,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        oldest: int = 1,
        renamed_from: str | Iterable[str] = (),
        tags: TagsOf | Iterable[str] | None = None,
        category: str | None = None,
    ) -> Any:
        """Register a class as an event type of this service, by the class's name or by `name`.

        `version` is the schema version, from 1; each older one from `oldest` on needs an `upcast`. Events that were
        stored under a name in `renamed_from` are read as this type. `tags` are the tags of each event: names of its
        fields (`tags=["course"]` gives `course:c1`), or a function that returns them. With a `category`, the type is
        appended only to streams of that category; stored events are read from any.
        """

        def register(cls: type[T]) -> type[T]:
            own = getattr(cls, "__name__", repr(cls)) if name is None else name
            before, of = names_before(renamed_from), tags_from(tags)
            self._register(EventType(self.name, own, version, cls, oldest, before, of, category))
            return cls

        return register if cls is None else register(cls)

    def consumes(
        self, source: str, name: str, cls: type, *, version: int = 1, oldest: int = 1, category: str | None = None
    ) -> None:
        """Register the class for an event type of another service; its events can be read, but not appended.

        With a `category`, the catalog knows their topic: `<source>.<category>`.
        """
        if source == self.name:
            msg = f"{name!r} is an event of {source!r} itself: register {cls!r} with @event"
            raise CatalogError(msg)
        if category is not None:
            check_topic(f"{source}.{category_of(category)}")
        self._register(EventType(check_source(source), name, version, cls, oldest, category=category))

    def retired(self, *names: str) -> None:
        """Declare types of this service as no longer used: readers skip their stored events."""
        for name in names:
            if (self.name, check_type(name)) in self._types:
                raise CatalogError(f"{name!r} is a type of this catalog: an event that is read is not retired")
        self._retired.update(names)

    def upcast(self, cls: type, *, from_version: int) -> Callable[[U], U]:
        """Register the function that converts the JSON data of a type (a dict) from a version to the next one."""

        def register(upcaster: U) -> U:
            self._upcasters.add(self._kind(cls), from_version, upcaster)
            return upcaster

        return register

    def upcast_fields(
        self,
        cls: type,
        *,
        from_version: int,
        defaults: Mapping[str, Any] | None = None,
        renamed: Mapping[str, str] | None = None,
        dropped: Iterable[str] = (),
    ) -> None:
        """Register an upcaster that renames fields (old name: new name), drops some, and adds new ones with defaults.

        Each event gets a copy of the defaults. Data with both the old and the new name of a field is refused.
        """
        step = changed_fields(defaults=defaults or {}, renamed=renamed or {}, dropped=dropped)
        self._upcasters.add(self._kind(cls), from_version, step)

    def upcasters_of(self, cls: type) -> list[Upcaster]:
        """Return the upcasters of a type, oldest version first."""
        return self._upcasters.steps(self._kind(cls))

    def check(self) -> None:
        """Raise CatalogError for missing upcasters and unknown annotations, which would fail at the first event."""
        self.check_chains()
        for cls in self._classes:
            self._codec(cls)

    def check_chains(self) -> None:
        """Raise CatalogError where a schema version has no upcaster to the next."""
        missing = [
            f"{kind} is at version {kind.version} and has no upcaster from version {version}"
            for kind in self.types
            for version in self._upcasters.missing(kind)
        ]
        if missing:
            raise CatalogError(
                f"the catalog {self.name!r} could not read old events: {'; '.join(missing)}: register each step with "
                "upcast(cls, from_version=...), or say oldest=... where no older event exists"
            )

    def stream(self, category: str, key: str | int | UUID) -> StreamId:
        """Return the id of a stream: `shop.stream("order", 42)` is `order-42`."""
        return StreamId(category, key)

    def topic(self, stream: str) -> str:
        """Return the topic that a stream's events go to."""
        category = stream.partition("-")[0]
        return self._topics.get(category) or f"{self.name}.{category}"

    def outgoing(self, stream: str) -> str | None:
        """Return the topic that the relay sends a stream's events to; None if they go to no broker."""
        category = stream.partition("-")[0]
        if not self.published or category in self._unpublished:
            return None
        return self._topics.get(category) or f"{self.name}.{category}"

    def is_published(self, category: str) -> bool:
        """Return whether the events of a category go to a broker."""
        return self.published and category not in self._unpublished

    @property
    def unpublished(self) -> frozenset[str]:
        """The categories whose events go to no broker."""
        return self._unpublished

    @property
    def topics(self) -> Mapping[str, str]:
        """The topics of the categories that have one of their own."""
        return self._topics

    def topics_of(self, categories: Iterable[str]) -> list[str]:
        """Return the topics of some categories, each once, sorted."""
        names = [category_of(category) for category in categories]
        if silent := [name for name in names if not self.is_published(name)]:
            raise CatalogError(
                f"the events of category {silent[0]!r} go to no broker, as the catalog {self.name!r} says: read them "
                "from the store (--from store)"
            )
        return sorted({self.topic(name) for name in names})

    def topic_of(self, kind: EventType) -> str | None:
        """Return the topic that carries a type; None if it has no category, or its events go to no broker."""
        if kind.category is None:
            return None
        return self.outgoing(kind.category) if kind.source == self.name else f"{kind.source}.{kind.category}"

    @property
    def messages(self) -> dict[str, tuple[EventType, ...]]:
        """The types that each topic carries, sorted; a type without a category may be in any topic."""
        carried: dict[str, list[EventType]] = {}
        for kind in sorted(self.types, key=lambda kind: (kind.source, kind.name)):
            if topic := self.topic_of(kind):
                carried.setdefault(topic, []).append(kind)
        return {topic: tuple(carried[topic]) for topic in sorted(carried)}

    @property
    def types(self) -> tuple[EventType, ...]:
        """All registered types."""
        return tuple(self._classes.values())

    def has_known(self, name: str) -> bool:
        """Return whether this service's events of a type can be decoded, or are retired."""
        return (self.name, name) in self._types or name in self._retired

    def type_of(self, cls: type) -> EventType:
        """Return the type that a class is registered as, or raise UnknownEventType."""
        found = self._classes.get(cls)
        if found is None:
            if isinstance(cls, str):
                raise UnknownEventType(f"{cls!r} is the name of a type, and its class is needed: give {cls}, no text")
            msg = f"{cls!r} is not in the catalog {self.name!r}: register it with the catalog's @event"
            raise UnknownEventType(f"{msg}; known are {self._known()}")
        return found

    def is_personal(self, cls: type) -> bool:
        """Return whether events of a class have personal fields."""
        return bool(self.personal_fields(cls))

    def personal_fields(self, cls: type) -> tuple[PersonalField, ...]:
        """Return the personal fields of a class."""
        personal = self._codec(self.type_of(cls).cls).personal
        return personal.fields if personal else ()

    def encode(self, event: object, stream: str | None = None) -> Encoded:
        """Return an event's type and JSON; raise InvalidEvent, which names field and value, if it cannot be stored.

        With a `stream`, raise it also for an event of another category.
        """
        cls = type(event)
        kind = self._classes.get(cls) or self.type_of(cls)
        if kind.source != self.name:
            msg = f"{cls.__name__} is an event of {kind.source!r}, which {self.name!r} only consumes"
            raise UnknownEventType(f"{msg}: record an event of {self.name!r} instead")
        if stream is not None and kind.category is not None:
            kind.check_stream(stream)
        codec = self._codecs.get(cls) or self._codec(cls)
        data = codec.encode(event)
        if len(data) * MAX_GROWTH > self.max_bytes:
            check_size(kind.name, data, self.max_bytes)
        tags = check_tags(kind.tags(event)) if kind.tags else ()
        if codec.personal is None:
            return Encoded(kind.name, kind.version, data.decode(), tags)
        redacted, personal = codec.redacted(data)
        check_size(kind.name, redacted, self.max_bytes, sealed=sealed_size(personal))
        return Sealable.of(Encoded(kind.name, kind.version, redacted.decode(), tags), personal)

    def decoder(self, source: str, name: str, schema_version: int) -> Callable[[bytes | str], Any]:
        """Return the function that decodes events of one type from JSON; keep it to avoid the lookup for each event."""
        kind = self._types.get((source, name))
        if kind is None:
            msg = f"event type {name!r} of {source!r} is not in the catalog {self.name!r}: register it"
            raise UnknownEventType(f"{msg}; known are {self._known()}")
        if schema_version > kind.version:
            msg = f"{name!r} of {source!r} was written with schema version {schema_version}"
            raise NewerSchema(f"{msg}, this code knows up to {kind.version}: update this code first")
        decode = self._codec(kind.cls).decode
        return decode if schema_version == kind.version else self._upcasters.decoder(kind, schema_version, decode)

    def quick_decoder(self, source: str, name: str) -> Callable[[bytes | str], Any]:
        """Return a faster decoder of schema version 1; after an error of any type, `decoder` says what is wrong."""
        decode, kind = self.decoder(source, name, 1), self._types[source, name]
        return self._codec(kind.cls).quick_decode if kind.version == 1 else decode

    def decode_data(self, source: str, name: str, schema_version: int, data: bytes | str) -> Any:
        """Decode an event from its JSON; raise UnknownEventType, NewerSchema or UndecodableEvent if that fails."""
        return self.decoder(source, name, schema_version)(data)

    def decode(self, encoded: EncodedEvent) -> Envelope[Any]:
        """Return the envelope of a stored or received event."""
        return envelope_of(self.event_of(encoded), encoded)

    def event_of(self, encoded: EncodedEvent) -> Any:
        """Return the event without its envelope; error messages never show decrypted personal values."""
        try:
            return self.decoder(encoded.source, encoded.type, encoded.schema_version)(encoded.data)
        except UndecodableEvent as error:
            if not encoded.opened or isinstance(error, NewerSchema):
                raise
            raise UndecodableEvent(
                f"{encoded.type!r} of {encoded.source!r}, schema version {encoded.schema_version}, cannot be made from "
                "its data: the reason is not shown, because it may hold personal values"
            ) from None

    def _register(self, kind: EventType) -> None:
        for taken in (self._classes.get(kind.cls), *(self._types.get((kind.source, name)) for name in kind.names)):
            if taken:
                msg = f"{kind.cls!r} cannot be {kind}"
                raise CatalogError(f"{msg}: {taken.cls!r} is already registered as {taken.name!r} of {taken.source!r}")
        with suppress(NameError):  # an annotation names a later class, or this one: prepared at its first use
            self._prepared[kind.cls] = Codec(kind.cls)
        self._codecs.clear()  # check the chains again
        self._classes[kind.cls] = kind
        self._types.update({(kind.source, name): kind for name in kind.names})

    def _kind(self, cls: type) -> EventType:
        try:
            return self.type_of(cls)
        except UnknownEventType as error:
            raise CatalogError(f"an upcaster needs its type: {error}") from error

    def _codec(self, cls: type) -> Codec:
        codec = self._codecs.get(cls)
        if codec is None:
            self.check_chains()
            try:
                codec = self._codecs[cls] = self._prepared.get(cls) or Codec(cls)
                self.has_personal |= codec.personal is not None
            except NameError as error:
                msg = f"an annotation of {cls!r} cannot be resolved: {error}"
                raise CatalogError(msg) from error
        return codec

    def _known(self) -> str:
        return ", ".join(sorted(f"{name!r} of {source!r}" for source, name in self._types)) or "none"
