"""The document: channels from topics, messages from event types, operations from recorded and received types.

A type with a category is in the channel of its topic. A type without one may be in any topic of its service, and is in
a channel whose address has the category as a parameter. Requests are taken from a given responder, their replies go to
the address that the request names.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from eventkit.asyncapi.bindings import PROTOCOLS, Protocol
from eventkit.asyncapi.receivers import Received, Receiver, receivers_of
from eventkit.domain.catalog import Catalog, Definitions, EventType, definition_of, describe, draft7, free_name
from eventkit.projection.define import Projection

Json = dict[str, Any]
_REPLIES = "replies"
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._-]")


def document(
    catalog: Catalog,
    *,
    receivers: Sequence[Projection] = (),
    protocol: str = "kafka",
    server: str | None = None,
    release: str = "1.0.0",
) -> Json:
    """Return the AsyncAPI 3.1 document of a catalog.

    `receivers` are the service's projections, handlers and responders, which become operations. `protocol` is one of
    `PROTOCOLS`; `server` is the broker's host and port. `release` is the version of the document. Raise CatalogError
    for a catalog that cannot read its old events, or a receiver of another catalog.
    """
    contract = _Contract(catalog, receivers_of(catalog, receivers), PROTOCOLS[protocol])
    servers = {"servers": {"broker": {"host": server, "protocol": protocol}}} if server else {}
    return {
        "asyncapi": "3.1.0",
        "info": {"title": catalog.name, "version": release},
        "defaultContentType": "application/json",
        **servers,
        "channels": contract.channels,
        "operations": contract.operations,
        "components": contract.components,
    }


class _Contract:
    """The channels, operations and components of one document."""

    def __init__(self, catalog: Catalog, receivers: Sequence[Receiver], protocol: Protocol) -> None:
        self._catalog = catalog
        self._protocol = protocol
        self._requests = {one.kind for each in receivers if each.is_responder for one in each.received}
        self._replies = {kind for each in receivers for one in each.received for kind in one.replies}
        self._schemas = Definitions("#/components/schemas/")
        self._ids: dict[EventType, str] = {}
        self.channels: Json = {}
        self.operations: Json = {}
        self.components: Json = {"schemas": {}, "messages": {}, "messageTraits": {}}
        self._add_messages(kind for kind in catalog.types if self._goes_to_a_broker(kind))
        for kind in sorted(self._ids, key=lambda kind: self._ids[kind]):
            self._add_to_channel(kind)
        for receiver in receivers:
            self._add_receiver(receiver)

    def _goes_to_a_broker(self, kind: EventType) -> bool:
        if kind.source != self._catalog.name or kind in self._requests | self._replies:
            return True
        return self._catalog.published and (kind.category is None or self._catalog.topic_of(kind) is not None)

    def _add_messages(self, kinds: Iterable[EventType]) -> None:
        described = {(one.source, one.name): one.data for one in describe(self._catalog).types}
        for kind in sorted(kinds, key=lambda kind: (kind.source != self._catalog.name, kind.source, kind.name)):
            own = kind.name if kind.source == self._catalog.name else f"{kind.source}.{kind.name}"
            name = self._ids[kind] = free_name(_NOT_IN_AN_ID.sub("_", own), self.components["messages"])
            schema = self._schemas.add(described[kind.source, kind.name])
            if set(schema) != {"$ref"}:
                schema = {"$ref": f"#/components/schemas/{self._named(name, schema)}"}
            self.components["messages"][name] = self._message(kind, schema)
        self.components["schemas"] = {name: draft7(schema) for name, schema in self._schemas.schemas.items()}

    def _named(self, name: str, schema: Json) -> str:
        found = self._schemas.name(object(), name)
        self._schemas.schemas[found] = schema
        return found

    def _message(self, kind: EventType, payload: Json) -> Json:
        direct = kind in self._requests | self._replies
        trait = "directMessage" if direct else "event"
        traits = self.components["messageTraits"]
        traits[trait] = self._protocol.direct_trait() if direct else self._protocol.event_trait()
        prefix = self._protocol.prefix
        fixed = {f"{prefix}type": {"const": kind.name}, f"{prefix}source": {"const": kind.source}}
        if kind.version > 1:
            fixed[f"{prefix}dataschemaversion"] = {"const": str(kind.version)}
        description = definition_of(payload, self._schemas.schemas).get("description")
        return {
            "name": kind.name,
            "title": kind.name,
            **({"summary": description.partition("\n")[0]} if description else {}),
            "headers": {"type": "object", "properties": fixed},
            "payload": payload,
            "traits": [{"$ref": f"#/components/messageTraits/{trait}"}],
        }

    def _add_to_channel(self, kind: EventType) -> None:
        """Add a type to its channel; the service sends its own types, except requests, and receives others."""
        if kind in self._replies and kind.category is None:
            return
        if kind in self._requests and kind.category is None:
            return  # the responder's channels have it
        place = self._place(self._catalog.topic_of(kind), kind, kind.source)
        if kind.source == self._catalog.name and kind not in self._requests:
            self._operate("send", f"send.{place[0]}", place)
        elif kind.source != self._catalog.name:
            self._operate("receive", f"receive.{place[0]}", place)

    def _add_receiver(self, receiver: Receiver) -> None:
        for one in receiver.received:
            for topic in one.topics or [self._catalog.topic_of(one.kind)]:
                place = self._place(topic, one.kind, one.kind.source)
                named = f"{receiver.name}.{self._ids[one.kind]}" if one.replies else f"{receiver.name}.{place[0]}"
                operation = self._operate("receive", _NOT_IN_AN_ID.sub("_", named), place)
                operation["summary"] = f"The {receiver.kind} {receiver.name!r}."
                self._add_replies(operation, one)

    def _add_replies(self, operation: Json, received: Received) -> None:
        if not received.replies:
            return
        channel = self.channels.setdefault(
            _REPLIES, {"address": None, "title": "Replies, on the topic that a request names.", "messages": {}}
        )
        for kind in received.replies:
            channel["messages"][self._ids[kind]] = {"$ref": f"#/components/messages/{self._ids[kind]}"}
        operation["reply"] = {
            "address": {"location": f"$message.header#/{self._protocol.prefix}replyto"},
            "channel": {"$ref": f"#/channels/{_REPLIES}"},
            "messages": [{"$ref": f"#/channels/{_REPLIES}/messages/{self._ids[kind]}"} for kind in received.replies],
        }

    def _place(self, topic: str | None, kind: EventType, source: str) -> tuple[str, str]:
        """Return the ids of a channel and of a message in it, which are made where they are missing."""
        channel_id = _NOT_IN_AN_ID.sub("_", topic or f"{source}.any")
        channel = self.channels.get(channel_id)
        if channel is None:
            channel = self.channels[channel_id] = {**self._protocol.channel(topic or f"{source}.{{category}}")}
            channel["messages"] = {}
            if topic is None:
                anything = {"category": {"description": "The category of the stream."}}
                channel["parameters"] = anything | channel.get("parameters", {})
        name = self._ids[kind]
        channel["messages"][name] = {"$ref": f"#/components/messages/{name}"}
        return channel_id, name

    def _operate(self, action: str, name: str, place: tuple[str, str]) -> Json:
        channel, message = place
        operation: Json = self.operations.setdefault(
            name, {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "messages": []}
        )
        reference = {"$ref": f"#/channels/{channel}/messages/{message}"}
        if reference not in operation["messages"]:
            operation["messages"].append(reference)
        return operation
