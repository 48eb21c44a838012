"""Brokers that run already, named by their URLs: they can be neither killed nor paused."""

import pika
from redis import Redis

from eventkit.transports import open_transport
from eventkit.transports.rabbitmq.address import Address


class GivenBroker:
    """Any of them."""

    def __init__(self, url: str) -> None:
        """Reach it once."""
        self.url = url
        transport = open_transport(url)
        self.version = transport.check()
        transport.close()

    def stop(self) -> None:
        """Leave it running."""


class GivenRabbit(GivenBroker):
    """A RabbitMQ."""

    def connection(self) -> pika.BlockingConnection:
        """Return a connection."""
        return pika.BlockingConnection(Address(self.url, {}).parameters())


class GivenRedis(GivenBroker):
    """A Redis."""

    def client(self) -> Redis:
        """Return a client."""
        return Redis.from_url(self.url, socket_timeout=5)
