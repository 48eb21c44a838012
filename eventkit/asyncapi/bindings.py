"""The part of a document that depends on the broker: addresses, headers' names, and AsyncAPI's bindings."""

from typing import Any, NamedTuple

Json = dict[str, Any]
_STREAM = "The stream. Its events are in the order of their `streamversion`."
_EVENT = {
    "specversion": {"type": "string", "const": "1.0"},
    "id": {"type": "string", "format": "uuid", "description": "The event's id, the same in every delivery."},
    "source": {"type": "string", "description": "The catalog that records the event."},
    "type": {"type": "string", "description": "The event's name in its catalog."},
    "time": {"type": "string", "format": "date-time", "description": "When it was recorded."},
}
_VERSION = {"type": "string", "pattern": "^[1-9][0-9]*$"}
_OPTIONAL = {
    "streamversion": {
        **_VERSION,
        "description": "The event's version in its stream, from 1 without holes; direct messages have none.",
    },
    "dataschemaversion": {**_VERSION, "description": "The schema version of the type, where it is not 1."},
    "correlationid": {"type": "string", "description": "The story that the event belongs to."},
    "causationid": {"type": "string", "description": "The id of the event that caused this one."},
    "traceparent": {"type": "string", "description": "The trace, as the W3C writes it."},
    "tracestate": {"type": "string", "description": "The state of tracing systems."},
    "metadata": {"type": "string", "contentMediaType": "application/json", "description": "The user's own metadata."},
}
_DIRECT = {
    "replyto": {"type": "string", "description": "The topic for the reply to a request."},
    "outcome": {"type": "string", "enum": ["refused", "failed"], "description": "Of a reply: it is an error."},
}


class Protocol(NamedTuple):
    """A broker's protocol: the address of a topic, and the prefix of CloudEvents' attributes in headers."""

    name: str
    address: str = "{topic}"
    prefix: str = "ce_"

    @property
    def is_sharded(self) -> bool:
        """Whether a topic has an address for each of its shards."""
        return "{shard}" in self.address

    def channel(self, topic: str) -> Json:
        """Return the address of a topic, and its bindings."""
        address = self.address.replace("{topic}", topic)
        shard = {"shard": {"description": "The shard of the stream: 0 to the number of partitions - 1."}}
        return {
            "address": address,
            **({"parameters": shard} if self.is_sharded else {}),
            "bindings": {self.name: self._channel_binding(topic, address)},
        }

    def event_trait(self) -> Json:
        """Return the trait of events: CloudEvents' attributes, the key, the correlation id."""
        return self._trait(_OPTIONAL)

    def direct_trait(self) -> Json:
        """Return the trait of requests and replies."""
        return self._trait(_OPTIONAL | _DIRECT)

    def _trait(self, optional: Json) -> Json:
        is_amqp = self.name == "amqp"  # it has a property for the content type, and none for the key
        required = _EVENT | ({"subject": {"type": "string", "description": _STREAM}} if is_amqp else {})
        properties = {self.prefix + name: schema for name, schema in {**required, **optional}.items()}
        if not is_amqp:
            properties["content-type"] = {"type": "string", "const": "application/json"}
        return {
            "contentType": "application/json",
            "headers": {
                "type": "object",
                "properties": properties,
                "required": [self.prefix + name for name in required],
            },
            "correlationId": {"location": f"$message.header#/{self.prefix}correlationid"},
            **self._message_binding(),
        }

    def _channel_binding(self, topic: str, address: str) -> Json:
        if self.name == "kafka" and "{" not in topic:
            return {"topic": topic, "bindingVersion": "0.5.0"}
        if self.name == "amqp":
            exchange = {"name": address, "type": "fanout", "durable": True, "autoDelete": False}
            return {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}
        return {}

    def _message_binding(self) -> Json:
        if self.name != "kafka":
            return {}
        return {"bindings": {"kafka": {"key": {"type": "string", "description": _STREAM}, "bindingVersion": "0.5.0"}}}


PROTOCOLS = {
    "kafka": Protocol("kafka"),
    "amqp": Protocol("amqp", "{topic}.{shard}", "cloudEvents:"),
    "redis": Protocol("redis", "eventkit:stream:{topic}:{shard}"),
    "stomp": Protocol("stomp", "/topic/VirtualTopic.{topic}.{shard}"),
}
