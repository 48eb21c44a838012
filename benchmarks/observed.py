"""A worker that is watched: its endpoint is asked for metrics, readiness and liveness every five seconds.

That is two or three times as often as an orchestrator and Prometheus ask. The first questions, which import modules and
make clients, come as soon as the endpoint is there.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException

PATHS = ("/metrics", "/readyz", "/livez")
_INTERVAL = 5.0  # seconds
_RETRY_INTERVAL = 0.1  # seconds until the endpoint is there


def free_address() -> str:
    """Return an address on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def watched(address: str) -> Iterator[None]:
    """Ask an endpoint inside this context; it need not be there yet."""
    ending = threading.Event()
    thread = threading.Thread(target=_ask, args=(address, ending), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _ask(address: str, ending: threading.Event) -> None:
    has_answered = False
    while not ending.wait(_INTERVAL if has_answered else _RETRY_INTERVAL):
        for path in PATHS:
            with suppress(OSError, HTTPException):
                connection = HTTPConnection(address, timeout=5)
                connection.request("GET", path)
                has_answered = bool(connection.getresponse().read())
                connection.close()
