"""The servers of a run: a real PostgreSQL and a real Apache Kafka of its own on free ports, or those that are given."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.kafka import GivenKafka, KafkaServer
from tests.servers.postgres import PostgresServer, default_release

__all__ = ["Kafka", "PostgresServer", "broker", "database", "postgres"]

Kafka = GivenKafka | KafkaServer


@contextmanager
def postgres(url: str | None, release: int | None) -> Iterator[PostgresServer]:
    """Lend a server."""
    server = PostgresServer.given(url) if url else PostgresServer.start(release or default_release())
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def database(url: str | None, release: int | None) -> Iterator[tuple[str, str]]:
    """Lend a fresh database with eventkit's tables: its address and the server's release."""
    with postgres(url, release) as server:
        fresh = server.fresh()
        yield fresh, server.version
        server.drop(fresh)


@contextmanager
def broker(url: str | None) -> Iterator[Kafka]:
    """Lend a broker."""
    server: Kafka = GivenKafka(url) if url else KafkaServer(quick=False).start()
    try:
        yield server
    finally:
        server.stop()
