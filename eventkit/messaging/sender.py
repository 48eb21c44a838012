"""Send messages without an event store: commands to one of their handlers, and broadcasts to all listeners.

If a message must not be lost, or must be sent only if your transaction commits, append it to the store instead. A call
returns when the broker has confirmed; nothing is stored here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from eventkit.domain.catalog import Catalog
from eventkit.domain.metadata import Metadata
from eventkit.domain.stream import StreamId
from eventkit.messaging.direct_messages import DirectMessages
from eventkit.messaging.outgoing import OutgoingQueue
from eventkit.observability.tracing import SEND
from eventkit.transports.base import Transport


class Sender:
    """Safe to use by threads and tasks at once.

    sender = Sender(open_transport("redis://localhost"), shop)

    sender.send(shop.stream("charge_card", 42), ChargeCard(...))           # one of the handlers of `charge_card`
    sender.broadcast(shop.stream("price", "tea"), PriceChanged(...))       # every `Listener` of `price`
    await sender.send_async(...)

    With 32 MB on their way, further calls wait before they encode their events.
    """

    def __init__(self, transport: Transport, catalog: Catalog) -> None:
        """Send on `transport`, which the caller closes after this."""
        self.direct = DirectMessages(catalog)
        self._system = transport.system
        self._commands = OutgoingQueue(transport.publisher)
        self._broadcasts = OutgoingQueue(lambda: transport.publisher(to_listeners=True))

    def send(
        self,
        stream: StreamId | str,
        *commands: object,
        metadata: Metadata | Mapping[str, Any] | None = None,
        ids: Sequence[UUID] | None = None,
    ) -> None:
        """Send commands to the handlers of their category; those of one stream arrive in order.

        Raise TopicUnusable if the topic is missing or no handler can receive them. Raise TransportUnavailable if it is
        unknown whether they were sent: send them again with the same `ids`, and each is handled once.
        """
        with self.direct.span(SEND, stream, self._system, count=len(commands)):
            self._commands.wait_for_room()
            self._commands.send(self.direct.messages(stream, commands, metadata=metadata, ids=ids)).result()

    async def send_async(
        self,
        stream: StreamId | str,
        *commands: object,
        metadata: Metadata | Mapping[str, Any] | None = None,
        ids: Sequence[UUID] | None = None,
    ) -> None:
        """Send as `send` does, for any number of calls at a time."""
        with self.direct.span(SEND, stream, self._system, count=len(commands)):
            await self._commands.wait_for_room_async()
            messages = self.direct.messages(stream, commands, metadata=metadata, ids=ids)
            await asyncio.wrap_future(self._commands.send(messages))

    def broadcast(
        self, stream: StreamId | str, *events: object, metadata: Metadata | Mapping[str, Any] | None = None
    ) -> None:
        """Send events to every process that listens to their category now; no listener is no error."""
        with self.direct.span(SEND, stream, self._system, count=len(events)):
            self._broadcasts.wait_for_room()
            self._broadcasts.send(self.direct.messages(stream, events, metadata=metadata)).result()

    async def broadcast_async(
        self, stream: StreamId | str, *events: object, metadata: Metadata | Mapping[str, Any] | None = None
    ) -> None:
        """Broadcast as `broadcast` does, for any number of calls at a time."""
        with self.direct.span(SEND, stream, self._system, count=len(events)):
            await self._broadcasts.wait_for_room_async()
            messages = self.direct.messages(stream, events, metadata=metadata)
            await asyncio.wrap_future(self._broadcasts.send(messages))

    def close(self) -> None:
        """Send the queued messages, and close the connections."""
        self._commands.close()
        self._broadcasts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
