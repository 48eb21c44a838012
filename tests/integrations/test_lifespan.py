"""Listeners, senders and requesters start and end with an ASGI application."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import pytest
from fastapi import FastAPI
from litestar import Litestar
from litestar.testing import TestClient as LitestarClient
from starlette.applications import Starlette
from starlette.testclient import TestClient

from eventkit import Catalog, Listener, Requester, Sender, TopicUnusable, open_transport
from eventkit.integrations import Lifespan
from eventkit.transports import Transport
from tests.servers.redis import GivenRedis, RedisServer
from tests.waiting import wait_until

shop = Catalog("shop")
TEA = shop.stream("price", "tea")


@shop.event
@dataclass(frozen=True)
class PriceChanged:
    """A broadcast."""

    run: str


FRAMEWORKS: dict[str, Callable[[Lifespan], AbstractContextManager[object]]] = {
    "FastAPI": lambda lifespan: TestClient(FastAPI(lifespan=lifespan)),
    "Starlette": lambda lifespan: TestClient(Starlette(lifespan=lifespan)),
    "Litestar": lambda lifespan: LitestarClient(Litestar(lifespan=[lifespan])),
}


class Service:
    """A service's listener, sender and requester, and everything that the listener has heard."""

    def __init__(self, transport: Transport) -> None:
        self.heard: list[str] = []
        self.missed = 0
        self.sender = Sender(transport, shop)
        self.requester = Requester(transport, shop, replies="shop.replies")
        self.listener = Listener(transport, shop, categories=["price"])
        self.listener.on(PriceChanged)(lambda event: self.heard.append(event.run))
        self.listener.on_missed(self._miss)
        self.lifespan = Lifespan(self.sender, self.requester, self.listener)

    def has_heard(self, run: str) -> bool:
        """Return whether a broadcast came."""
        return run in self.heard

    def _miss(self) -> None:
        self.missed += 1


@pytest.fixture
def transport(redis: RedisServer | GivenRedis) -> Iterator[Transport]:
    """A transport with the topics."""
    with closing(open_transport(redis.url)) as transport:
        transport.create_topics(["shop.price", "shop.replies"], partitions=1)
        yield transport


@pytest.fixture
def service(transport: Transport) -> Service:
    """A service that has not started."""
    return Service(transport)


def threads() -> list[str]:
    """Return the names of eventkit's threads."""
    return [one.name for one in threading.enumerate() if one.name.startswith(("listener of", "eventkit sender"))]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_everything_starts_and_ends_with_the_application(service: Service, framework: str) -> None:
    """A broadcast that is sent as soon as the application runs is heard; its end leaves no thread; it starts again."""
    before = threads()
    for run in (uuid4().hex, uuid4().hex):
        with FRAMEWORKS[framework](service.lifespan):
            assert service.requester.pending.ready
            service.sender.broadcast(TEA, PriceChanged(run))
            wait_until(partial(service.has_heard, run))

        assert threads() == before
        assert not service.requester.pending.ready


async def test_it_runs_inside_another_lifespan(service: Service) -> None:
    """As an asynchronous context manager, with an application or without one."""
    async with service.lifespan():
        assert "listener of shop.price" in threads()

    assert "listener of shop.price" not in threads()


def test_a_listener_that_runs_already_is_not_started_twice(service: Service) -> None:
    """Each of its functions gets a message once."""
    with service.listener, TestClient(Starlette(lifespan=service.lifespan)):
        service.sender.broadcast(TEA, PriceChanged("one"), PriceChanged("last"))
        wait_until(lambda: "last" in service.heard)

    assert service.heard == ["one", "last"]


def test_a_missing_topic_ends_the_start_and_what_had_started(transport: Transport) -> None:
    """The error names the topic; the listener before it has ended."""
    service = Service(transport)
    lost = Requester(transport, shop, replies="shop.nowhere.replies")

    with (
        pytest.raises(TopicUnusable, match=r"shop\.nowhere"),
        TestClient(Starlette(lifespan=Lifespan(service.listener, lost))),
    ):
        pass

    assert "listener of shop.price" not in threads()


def test_a_part_that_cannot_be_closed_leaves_no_other_one_open(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is raised when all are closed."""

    def fail() -> None:
        raise OSError("cannot be closed")

    monkeypatch.setattr(service.requester, "close", fail)
    lifespan = Lifespan(service.listener, service.requester)

    with pytest.raises(OSError, match="cannot be closed"), TestClient(Starlette(lifespan=lifespan)):
        pass

    assert "listener of shop.price" not in threads()
    service.requester.pending.close()


def test_an_application_starts_without_its_broker(caplog: pytest.LogCaptureFixture) -> None:
    """It says so; when the broker is there, the listener listens and calls `on_missed`, and the rest works."""
    server = RedisServer()
    transport = open_transport(server.url)
    service = Service(transport)
    with caplog.at_level(logging.WARNING), TestClient(Starlette(lifespan=service.lifespan)):
        assert any("starts without its broker" in line for line in caplog.messages)
        server.start()
        transport.create_topics(["shop.price", "shop.replies"], partitions=1)
        wait_until(lambda: service.missed, timeout=120)
        service.sender.broadcast(TEA, PriceChanged("heard"))
        wait_until(lambda: service.heard == ["heard"])
    transport.close()
    server.stop()
