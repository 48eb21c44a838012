"""`python -m tests.messaging.preloaded URL`: a program that is loaded once and forks two workers, as servers do.

Listener, sender and requester have started before the fork. It ends with 0 if each process receives and sends, and the
parent still works when the workers have closed theirs; faults are on stderr.
"""

import os
import sys
import time
from collections.abc import Callable
from uuid import uuid4

from eventkit.errors import RequestTimeout
from eventkit.messaging.listener import Listener
from eventkit.messaging.requester import Requester
from eventkit.messaging.sender import Sender
from eventkit.transports import open_transport
from tests.messaging.pricing import GetPrice, Price, PriceChanged, pricing

TIMEOUT = 60.0  # seconds
TEA = pricing.stream("price", "tea")
RUN = uuid4().hex  # the broker is others', too


class Program:
    """The objects that are loaded before the fork."""

    def __init__(self, url: str) -> None:
        self.heard: set[str] = set()
        self.missed = 0
        transport = open_transport(url)
        self._listener = Listener(transport, pricing, categories=["price"])
        self._listener.on(PriceChanged)(self._hear)
        self._listener.on_missed(self._miss)
        self._sender = Sender(transport, pricing)
        self._requester = Requester(transport, pricing, replies="shop.replies")
        self._listener.start()
        self._requester.start()

    def say(self, word: str) -> None:
        """Broadcast it."""
        self._sender.broadcast(TEA, PriceChanged(f"{RUN} {word}"))

    def ask(self) -> bool:
        """Send a request, to which nobody responds here; return whether it went out."""
        try:
            self._requester.request(TEA, GetPrice("tea"), Price, timeout=0.5)
        except RequestTimeout:
            return True
        return False

    def close(self) -> None:
        """Close the objects of this process."""
        for each in (self._listener, self._sender, self._requester):
            each.close()

    def _hear(self, event: PriceChanged) -> None:
        self.heard.add(event.article.removeprefix(f"{RUN} "))

    def _miss(self) -> None:
        self.missed += 1


def main(url: str) -> None:
    """Fork, send a message everywhere, and receive it everywhere."""
    program = Program(url)
    program.say("before")
    await_("the parent to hear itself", lambda: "before" in program.heard)
    workers = [_fork(program, name) for name in ("first", "second")]
    await_("both workers to listen and speak", lambda: {"first", "second"} <= program.heard)
    program.say("to all")
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    program.say("after")
    await_("the parent to hear on", lambda: "after" in program.heard)
    program.close()
    sys.exit(any(codes))


def _fork(program: Program, name: str) -> int:
    pid = os.fork()
    if pid == 0:
        await_("the listener in the fork", lambda: program.missed)
        program.say(name)
        await_("the parent in the fork", lambda: "to all" in program.heard)
        asked = program.ask()
        program.close()
        sys.exit(not asked)
    return pid


def await_(what: str, condition: Callable[[], object]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"process {os.getpid()} waited {TIMEOUT:g} s for {what}")
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1])
