"""The servers of the parts: one PostgreSQL, one Kafka where wanted, and databases that several parts may share."""

from contextlib import ExitStack
from typing import Self
from uuid import uuid4

from rich.console import Console

from benchmarks.given import Given
from benchmarks.scale.drain import AHEAD, Topic
from benchmarks.scale.store import Store
from benchmarks.servers import Kafka


class Stage:
    """Servers and databases for one run; slow steps are reported on stderr."""

    def __init__(self, shared: Given) -> None:
        """Start nothing yet."""
        self.rounds = shared.rounds
        self._shared = shared
        self._open = ExitStack()
        self._kafka: Kafka | None = None
        self._stores: list[Store] = []
        self._console = Console(stderr=True)

    def __enter__(self) -> Self:
        """Start the database server."""
        self._server = self._open.enter_context(self._shared.server())
        self.version = self._server.version
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind."""
        self._open.close()

    @property
    def kafka(self) -> Kafka:
        """The broker, started when it is first wanted."""
        if self._kafka is None:
            self._kafka = self._open.enter_context(self._shared.broker())
        return self._kafka

    def say(self, text: str) -> None:
        """Report progress to the person who waits."""
        self._console.print(text, style="dim", highlight=False)

    def database(self) -> str:
        """Lend a fresh database until the end of the run."""
        url = self._server.fresh()
        self._open.callback(self._server.drop, url)
        return url

    def store(self, events: int, *, streams: int = 1_000) -> Store:
        """Lend a database with so many stored events, up to `AHEAD` more: the same one to every part that asks."""
        for store in self._stores:
            if events <= store.events <= events + AHEAD and (store.streams == min(streams, store.events)):
                return store
        if events:
            self.say(f"filling a database with {events:,} events")
        store = Store(self.database(), events=events, streams=streams)
        self._open.callback(store.close)
        self._stores.append(store)
        return store

    def topic(self) -> Topic:
        """Lend a topic of its own."""
        topic = Topic(self.kafka, f"bench.scale-{uuid4().hex[:8]}")
        self._open.callback(topic.close)
        return topic
