"""The queue of a sender: its bytes are bounded, and nothing that waits is lost."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from eventkit.domain.message import Message
from eventkit.messaging.outgoing import OutgoingQueue
from eventkit.messaging.sender import Sender
from eventkit.transports.local import LocalTransport
from eventkit.transports.local.publisher import LocalPublisher
from tests.messaging.pricing import UnknownArticle, pricing

LARGE = UnknownArticle("x" * 880_000)
FITTING = 37  # of them until there are 32 MB


class Gated(LocalTransport):
    """A transport whose publishers open when it is said."""

    gate = threading.Event()

    def publisher(self, *, to_listeners: bool = False) -> LocalPublisher:
        self.gate.wait(60)
        return super().publisher(to_listeners=to_listeners)


@pytest.fixture
def sender(transport: LocalTransport, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    """A sender to a broker that is slow to open; its class counts the encoded messages."""
    del transport  # it has made the topics
    monkeypatch.setattr(Gated, "gate", threading.Event())
    with Sender(Gated(name), pricing) as sender:
        yield sender
        Gated.gate.set()


def test_threads_wait_before_they_encode_more_than_fits(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are sent in the end."""
    begun = counted(sender, monkeypatch)
    threads = [threading.Thread(target=sender.send, args=(pricing.stream("price", place), LARGE)) for place in range(3)]
    room = sender._commands._room
    room.take(32_000_000)

    for thread in threads:
        thread.start()
    assert not begun
    Gated.gate.set()
    room.give(32_000_000)

    for thread in threads:
        thread.join(60)
    assert len(begun) == 3


async def test_tasks_wait_before_they_encode_more_than_fits(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of them; each is sent, and none before there is room."""
    begun = counted(sender, monkeypatch)

    tasks = [asyncio.ensure_future(sender.send_async(pricing.stream("price", n), LARGE)) for n in range(2 * FITTING)]
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(begun) == FITTING

    Gated.gate.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    assert len(begun) == 2 * FITTING


def test_waiting_for_room_ends_at_its_timeout(transport: LocalTransport) -> None:
    """A request must not wait for longer than its own timeout."""
    queue = OutgoingQueue(transport.publisher)
    assert queue.wait_for_room(5) > 0
    queue._room.take(32_000_000)

    assert queue.wait_for_room(0.01) == 0
    assert asyncio.run(queue.wait_for_room_async(0.01)) == 0


def counted(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that gets an item for each call that encodes."""
    begun: list[object] = []
    messages = sender.direct.messages

    def made(stream: str, *given: Any, **more: Any) -> list[Message]:  # noqa: ANN401 those of the method
        begun.append(stream)
        return messages(stream, *given, **more)

    monkeypatch.setattr(sender.direct, "messages", made)
    return begun
