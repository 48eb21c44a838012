"""A small HTTP server inside a worker process: GET and HEAD of a few paths, one answer a connection.

It must not hinder the worker, whatever comes over the wire. A connection has five seconds and eight kilobytes for its
request; 64 may be open, and a new one closes the oldest. So slow clients cannot keep a probe out. A forked child closes
its copies of the sockets.
"""

import logging
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, NamedTuple

from eventkit.forks import reset_in_fork
from eventkit.health.address import refused, resolved, shown

logger = logging.getLogger("eventkit.health")

_MAX_CONNECTIONS = 64
_MAX_REQUEST = 8_192  # bytes
_MAX_TIME = 5.0  # seconds from accepting a connection to its end
_POLL_INTERVAL = 0.25  # seconds between checks for slow connections
_ACCEPT_PAUSE = 0.1  # seconds, where the process has no file descriptor left
_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (/[!-~]{0,2000}|\*) HTTP/1\.[01]\r?\n")
_END = re.compile(rb"\r?\n\r?\n")


class Response(NamedTuple):
    """A status, a body and its type."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"

    def encoded(self, *, head: bool = False) -> bytes:
        """Return the bytes of the answer; without the body to a HEAD."""
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else self.body)


Answer = Callable[[str], Response]
"""Returns the response to a path, without its query."""


class HealthServer(socketserver.ThreadingTCPServer):
    """Serves from its creation until `close`."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 1_024  # a full queue would delay a probe by a second

    def __init__(self, host: str, port: int, answer: Answer) -> None:
        """Listen on an address; port 0 takes a free one. ConfigurationError if that is impossible."""
        self.address_family, address = resolved(host, port)
        self.answer = answer
        self._open: dict[socket.socket, float] = {}  # connection -> time on the monotonic clock, the oldest first
        self._lock = threading.Lock()
        self._closed = False
        try:
            super().__init__(address, _Connection)  # type: ignore[arg-type]  # an address of getaddrinfo
        except OSError as error:
            raise refused(host, port, error) from error
        reset_in_fork(self)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL_INTERVAL,), name="health server", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """The address that it listens on, as in a URL."""
        host, port, *_ = self.server_address
        return shown(str(host), int(port))

    def close(self) -> None:
        """Stop listening."""
        if not self._closed:
            self._closed = True
            self.shutdown()
            self.server_close()

    def forked(self) -> None:
        """Close the child's copies of the sockets: the parent's stay open."""
        self._closed = True
        for connection in [self.socket, *self._open]:
            with suppress(OSError):
                connection.close()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; pause where that fails, or the loop would spin."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_ACCEPT_PAUSE)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 socketserver's signature
        """Answer on a thread; close the oldest connection if too many are open."""
        with self._lock:
            oldest = next(iter(self._open)) if len(self._open) >= _MAX_CONNECTIONS else None
            self._open[request] = time.monotonic()
        if oldest is not None:
            self._hang_up(oldest)
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Close the connections that have taken too long; called by the loop."""
        limit = time.monotonic() - _MAX_TIME
        with self._lock:
            slow = [connection for connection, since in self._open.items() if since < limit]
        for connection in slow:
            self._hang_up(connection)

    def _hang_up(self, connection: socket.socket) -> None:
        """End a connection; its thread wakes up and closes it."""
        with self._lock:
            self._open.pop(connection, None)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 as above
        """Close a connection that was answered."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 as above
        """Keep a client that went away out of the log."""
        logger.debug("a connection to the health endpoint has failed: %r", sys.exception())


class _Connection(socketserver.BaseRequestHandler):
    """One connection: reads a request, writes an answer."""

    server: HealthServer
    request: socket.socket

    def handle(self) -> None:
        self.request.settimeout(_MAX_TIME)
        received, searched = b"", 0
        while not _END.search(received, searched):
            more = self.request.recv(_MAX_REQUEST)
            if not more:
                return
            searched = max(0, len(received) - 3)
            received += more
            if len(received) > _MAX_REQUEST:
                self._send(_plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
                return
        line = _REQUEST_LINE.match(received)
        if line is None:
            self._send(_plain(HTTPStatus.BAD_REQUEST))
        elif line[1] not in (b"GET", b"HEAD"):
            self._send(_plain(HTTPStatus.METHOD_NOT_ALLOWED))
        else:
            self._send(self._answer(line[2].decode()), head=line[1] == b"HEAD")

    def _answer(self, target: str) -> Response:
        try:
            return self.server.answer(target.partition("?")[0])
        except Exception as error:
            logger.warning("the health endpoint could not answer %.60r: %s", target, type(error).__name__)
            logger.debug("its error", exc_info=error)
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _send(self, response: Response, *, head: bool = False) -> None:
        self.request.sendall(response.encoded(head=head))


def _plain(status: HTTPStatus) -> Response:
    return Response(status, f"{status.phrase}\n".encode())
