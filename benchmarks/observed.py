"""A worker that is watched: its endpoint is asked for metrics, readiness and liveness every five seconds.

That is two or three times as often as an orchestrator and Prometheus ask. The first questions, which import modules and
make clients, come as soon as the endpoint is there. A run of two seconds must wait for their answers before its clock
starts: in service they come once in the life of a process.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

PATHS = ("/metrics", "/readyz", "/livez")
_INTERVAL = 5.0  # seconds
_RETRY_INTERVAL = 0.1  # seconds until the endpoint is there


def free_address() -> str:
    """Return an address on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def watched(address: str) -> Iterator[threading.Event]:
    """Ask an endpoint inside this context; it need not be there yet. The event is set once all answers were good."""
    ending, is_ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=_ask, args=(address, ending, is_ready), daemon=True)
    thread.start()
    try:
        yield is_ready
    finally:
        ending.set()
        thread.join()


def _ask(address: str, ending: threading.Event, is_ready: threading.Event) -> None:
    while not ending.wait(_INTERVAL if is_ready.is_set() else _RETRY_INTERVAL):
        answers = [_is_good(address, path) for path in PATHS]
        if all(answers):
            is_ready.set()


def _is_good(address: str, path: str) -> bool:
    connection = HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return response.status == HTTPStatus.OK
