"""A transport whose publishers name each event's schema: `dataschema`, and the id in a header or before the value.

    dataschema    ce_dataschema: <registry>/schemas/ids/7/schema
    header        and __value_schema_id: a GUID, or the id where the registry has no GUIDs
    payload       and the value begins with 0 and the id; its content type is then application/octet-stream

A schema that is not known holds its topic: none of the events of that call is sent.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, cast

from eventkit.domain.message import Headers, Message
from eventkit.domain.schema_frame import HEADER, frame_of_guid, frame_of_id
from eventkit.errors import ConfigurationError
from eventkit.registry.schema_ids import Key, SchemaIds
from eventkit.storage.schema_ids import KnownSchema
from eventkit.transports import Publisher, Reports, Transport
from eventkit.transports.content_modes import StructuredTransport

_SOURCE, _TYPE, _CONTENT_TYPE, _VERSION = 2, 3, 6, 7  # places among the headers of a stored event
_FRAMED = ("content-type", "application/octet-stream")


class SchemaIdForm(StrEnum):
    """How a message names its schema."""

    OFF = "off"
    DATASCHEMA = "dataschema"
    HEADER = "header"
    PAYLOAD = "payload"


class SchemaIdPublisher:
    """Names the schemas of messages that the relay made of stored events; in all else the publisher that it wraps."""

    def __init__(self, publisher: Publisher, ids: SchemaIds, form: SchemaIdForm) -> None:
        self._publisher = publisher
        self._ids = ids
        self._form = form
        self._names: dict[Key, tuple[Headers, bytes]] = {}  # headers to add, and the frame
        self._held: dict[str, str] = {}

    def send(self, messages: Sequence[Message]) -> None:
        """Queue messages with the names of their schemas; hold the topics of those that are not known."""
        unknown: dict[str, str] = {}
        for message in messages:
            try:
                self._name(message)
            except KeyError:
                unknown[message.topic] = f"the schema of {message.headers[_TYPE][1]!r} is not known yet"
        self._held.update(unknown)
        if not self._held:
            self._publisher.send(messages)

    def reports(self, timeout: float) -> Reports:
        """Return the results, and the held topics; see `Publisher.reports`."""
        found = self._publisher.reports(0 if self._held else timeout)
        if self._held:
            found.held = {**found.held, **self._held}
        return found

    def _name(self, message: Message) -> None:
        headers = message.headers
        version = 1
        if len(headers) > _VERSION and headers[_VERSION][0] == "ce_dataschemaversion":
            version = int(headers[_VERSION][1])
        key: Any = (message.topic, headers[_SOURCE][1], headers[_TYPE][1], version)
        more, frame = self._names.get(key) or self._first(key)
        headers += more
        if frame:
            headers[_CONTENT_TYPE] = _FRAMED
            value = message.value
            message.value = frame + (value.encode() if isinstance(value, str) else value)

    def _first(self, key: Key) -> tuple[Headers, bytes]:
        found = self._ids.of(key)
        named = ([], b"") if found is None else self._parts(found)
        self._names[key] = named
        return named

    def _parts(self, found: KnownSchema) -> tuple[Headers, bytes]:
        headers: Headers = [("ce_dataschema", self._ids.registry.uri_of(found.id))]
        if self._form is SchemaIdForm.HEADER:
            frame = frame_of_id(found.id) if found.guid is None else frame_of_guid(found.guid.bytes)
            headers.append((HEADER, frame))
        return headers, frame_of_id(found.id) if self._form is SchemaIdForm.PAYLOAD else b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._publisher, name)


class SchemaIdTransport:
    """A transport whose publishers name schemas."""

    def __init__(self, transport: Transport, ids: SchemaIds, form: SchemaIdForm) -> None:
        """Wrap a transport; raise ConfigurationError for a form that its messages cannot have."""
        is_structured = isinstance(transport, StructuredTransport)
        if form in (SchemaIdForm.HEADER, SchemaIdForm.PAYLOAD) and (transport.system != "kafka" or is_structured):
            found = "format=structured" if is_structured else f"a broker of {transport.system}"
            raise ConfigurationError(
                f"schema_id is {form.value!r}, a form for readers of Kafka messages in binary mode, but the relay has "
                f"{found}: set schema_id to {SchemaIdForm.DATASCHEMA.value!r}, which all brokers and modes have"
            )
        self._transport = transport
        self._ids = ids
        self._form = form

    def publisher(self, *, to_listeners: bool = False) -> Publisher:
        """Return a new publisher; see `Transport.publisher`."""
        publisher = self._transport.publisher(to_listeners=to_listeners)
        return cast("Publisher", SchemaIdPublisher(publisher, self._ids, self._form))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._transport, name)
