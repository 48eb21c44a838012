"""A TCP proxy in front of a server, which can lose one answer: the request arrives, the connection ends without a word.

Nobody behind it can tell whether the request has had its effect: it has. It can also lead to another server from some
time on, as the address of a cluster does after a failover.
"""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

LOCAL = "127.0.0.1"
_CHUNK = 1 << 20
_LENGTH = 4  # bytes that say how long a request is
_UNANSWERED = 0.3  # seconds after which a request is taken for one that gets no answer


class Proxy:
    """Listens on a port of its own while its block lasts."""

    def __init__(self, port: int, *, host: str = LOCAL, framed: bool = False) -> None:
        """Stand before the server at `port`, on any free port of `host`.

        `framed` requests begin with their length in four bytes, as Kafka's do: each is handled by itself, also where
        several come at once.
        """
        self._server = port
        self._framed = framed
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, 0), family=family)
        self.port: int = self._listening.getsockname()[1]
        self._armed: re.Pattern[bytes] | None = None
        self._lock = threading.Lock()
        self.lost = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listening.close()

    def lose(self, request: re.Pattern[bytes]) -> None:
        """Lose the answer to the next request that matches; `lost` is set then."""
        self.lost.clear()
        self._armed = request

    def lead_to(self, port: int) -> None:
        """Connect clients that come from now on to another server; nobody answers them while that is away."""
        self._server = port

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                try:
                    server = socket.create_connection((LOCAL, self._server))
                except OSError:
                    client.close()
                    continue
                line = _Line(client, server)
                threading.Thread(target=self._forth, args=(line,), daemon=True).start()
                threading.Thread(target=line.back, daemon=True).start()

    def _forth(self, line: "_Line") -> None:
        with suppress(OSError):
            for data in self._requests(line.client):
                if self._strikes(data):
                    line.dead.set()
                line.server.sendall(data)
                if line.dead.is_set():
                    line.answered.wait(_UNANSWERED)
                    self.lost.set()
                    break
        line.close()

    def _requests(self, client: socket.socket) -> Iterator[bytes]:
        """Yield the received bytes: request by request, where they state their length."""
        waiting = b""
        while data := client.recv(_CHUNK):
            waiting += data
            while self._framed and len(waiting) >= _LENGTH + (size := int.from_bytes(waiting[:_LENGTH], "big")):
                yield waiting[: _LENGTH + size]
                waiting = waiting[_LENGTH + size :]
            if waiting and not self._framed:
                yield waiting
                waiting = b""

    def _strikes(self, data: bytes) -> bool:
        with self._lock:
            if self._armed is None or not self._armed.search(data):
                return False
            self._armed = None
            return True


class _Line:
    """One client's connection and the one to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.dead = threading.Event()  # nothing goes back any more
        self.answered = threading.Event()  # something would have gone

    def back(self) -> None:
        with suppress(OSError):
            while data := self.server.recv(_CHUNK):
                if self.dead.is_set():
                    self.answered.set()
                else:
                    self.client.sendall(data)
        self.close()

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
