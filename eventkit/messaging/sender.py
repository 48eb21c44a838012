"""Sends without an event store: commands to the one of their handlers who gets them, and broadcasts to all who listen.

What a service must not lose, or send only if its own transaction commits, is appended to the store: this is for the
rest. A call returns when the broker has confirmed; nothing is remembered here after that.
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
from eventkit.transports.base import Transport


class Sender:
    """Safe to use by threads and tasks at once.

    sender = Sender(open_transport("redis://localhost"), shop)

    sender.send(shop.stream("charge_card", 42), ChargeCard(...))           # one of the handlers of `charge_card`
    sender.broadcast(shop.stream("price", "tea"), PriceChanged(...))       # every `Listener` of `price`
    await sender.send_async(...)
    """

    def __init__(self, transport: Transport, catalog: Catalog) -> None:
        """Send on a transport that is the caller's to close, after this."""
        self.direct = DirectMessages(catalog)
        self._commands = OutgoingQueue(transport.publisher)
        self._broadcasts = OutgoingQueue(lambda: transport.publisher(to_listeners=True))

    def send(
        self,
        stream: StreamId | str,
        *commands: object,
        metadata: Metadata | Mapping[str, Any] | None = None,
        ids: Sequence[UUID] | None = None,
    ) -> None:
        """Send commands to whoever handles their category; those of one stream in order.

        TopicUnusable where the topic is missing, or nobody would ever get them; TransportUnavailable where nothing is
        known about them: sent again with the same `ids`, each is handled once.
        """
        self._commands.send(self.direct.messages(stream, commands, metadata=metadata, ids=ids)).result()

    async def send_async(
        self,
        stream: StreamId | str,
        *commands: object,
        metadata: Metadata | Mapping[str, Any] | None = None,
        ids: Sequence[UUID] | None = None,
    ) -> None:
        """Do what `send` does; many may be under way."""
        await asyncio.wrap_future(
            self._commands.send(self.direct.messages(stream, commands, metadata=metadata, ids=ids))
        )

    def broadcast(
        self, stream: StreamId | str, *events: object, metadata: Metadata | Mapping[str, Any] | None = None
    ) -> None:
        """Send events to every process that listens to their category now; to nobody is no error."""
        self._broadcasts.send(self.direct.messages(stream, events, metadata=metadata)).result()

    async def broadcast_async(
        self, stream: StreamId | str, *events: object, metadata: Metadata | Mapping[str, Any] | None = None
    ) -> None:
        """Do what `broadcast` does; many may be under way."""
        await asyncio.wrap_future(self._broadcasts.send(self.direct.messages(stream, events, metadata=metadata)))

    def close(self) -> None:
        """Send what waits, and let go of the connections."""
        self._commands.close()
        self._broadcasts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
