"""`python -m benchmarks.memory_messages PROGRAM BROKER COUNT`: programs that send and receive large direct messages.

A sender sends all its commands at once. A listener is slower than the one that broadcasts. A requester sends all its
small requests at once, and a responder answers each with a large reply.
"""

import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from benchmarks.memory_watch import CLI, watched
from eventkit import Catalog, EventStore, Listener, Replies, Requester, Responder, Sender
from eventkit.errors import TopicUnusable
from eventkit.transports import open_transport

TOPICS = ("letters.post", "letters.ask", "letters.replies")
_SIZE = 880_000  # bytes
_TIMEOUT = 600.0  # seconds

letters = Catalog("letters")


@letters.event
@dataclass(frozen=True)
class Posted:
    text: str


@letters.event
@dataclass(frozen=True)
class Asked:
    number: int


desk = Responder("desk", EventStore(letters), categories=["ask"], replies=Replies(topics=[TOPICS[-1]]))


@desk.on(Asked)
def answer(_: sa.Connection, request: Asked) -> Posted:
    """Answer with a large text, of its own."""
    return Posted(_text(request.number))


def send(broker: str, count: int) -> None:
    """Send large commands, all at once."""
    text = _text(0)

    async def all_of_them(sender: Sender) -> None:
        await asyncio.gather(
            *(sender.send_async(letters.stream("post", number), Posted(text)) for number in range(count))
        )

    with Sender(open_transport(broker), letters) as sender:
        asyncio.run(all_of_them(sender))


def broadcast(broker: str, count: int) -> None:
    """Broadcast large events."""
    with Sender(open_transport(broker), letters) as sender:
        for number in range(count):
            sender.broadcast(letters.stream("post", number), Posted(_text(number)))


def listen(broker: str, count: int) -> None:
    """Listen until all have come, slowly; say when it has begun."""
    heard, all_heard = [0], threading.Event()
    listener = Listener(open_transport(broker), letters, categories=["post"])

    @listener.on(Posted)
    def posted(event: Posted) -> None:
        del event
        time.sleep(0.02)
        heard[0] += 1
        if heard[0] == count:
            all_heard.set()

    with listener:
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        if not all_heard.wait(_TIMEOUT):
            sys.exit(f"heard {heard[0]} of {count}")


def request(broker: str, count: int) -> None:
    """Send small requests, all at once, and wait for their large replies."""

    async def one(requester: Requester, number: int) -> None:
        stream = letters.stream("ask", number)
        reply = await requester.request_async(stream, Asked(number), Posted, timeout=_TIMEOUT)
        assert len(reply.text) == _SIZE, len(reply.text)  # noqa: S101 a benchmark

    async def all_of_them(requester: Requester) -> None:
        await asyncio.gather(*(one(requester, number) for number in range(count)))

    with Requester(open_transport(broker), letters, replies=TOPICS[-1]) as requester:
        _await_responder(requester)
        asyncio.run(all_of_them(requester))


PROGRAMS: dict[str, Callable[[str, int], None]] = {
    "send": send,
    "broadcast": broadcast,
    "listen": listen,
    "request": request,
}


def of_messages(url: str, broker: str, name: str, count: int) -> Iterator[tuple[str, float]]:
    """Yield the peaks of a sender, a listener, a requester and a responder on one broker."""
    program = "benchmarks.memory_messages"
    transport = open_transport(broker)
    transport.create_topics(TOPICS, partitions=6)
    transport.subscribe(TOPICS[:1], "keeper").close()
    peaks: list[float] = []
    with watched(url, [program, "send", broker, str(count)], peaks):
        pass
    yield f"sender_{name}", peaks.pop()
    with watched(url, [program, "listen", broker, str(count)], peaks) as listener:
        if listener.stdout:
            listener.stdout.readline()
        broadcast(broker, count)
    yield f"listener_{name}", peaks.pop()
    responding = [CLI, "--transport-url", broker, "projector", "run", f"{program}:desk"]
    with watched(url, responding, peaks) as responder:
        with watched(url, [program, "request", broker, str(count)], peaks):
            pass
        responder.terminate()
    yield f"requester_{name}", peaks[0]
    yield f"responder_{name}", peaks[1]
    transport.close()


def _await_responder(requester: Requester) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        try:
            requester.request(letters.stream("ask", "first"), Asked(0), Posted, timeout=_TIMEOUT)
        except TopicUnusable:  # no responder has joined yet
            time.sleep(0.2)
        else:
            return


def _text(number: int) -> str:
    """Return a text that hardly compresses."""
    return random.Random(number).randbytes(_SIZE // 2).hex()


if __name__ == "__main__":
    which, address, wanted = sys.argv[1:]
    PROGRAMS[which](address, int(wanted))
