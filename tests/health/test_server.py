"""The endpoint's HTTP server: it answers probes, whatever else comes over the wire."""

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus

import pytest

from eventkit.errors import ConfigurationError
from eventkit.health import parse_address
from eventkit.health.server import HealthServer, Response
from tests.waiting import wait_until


def answer(path: str) -> Response:
    """Answer one path, and fail at another."""
    if path == "/livez":
        return Response(HTTPStatus.OK, b"live\n")
    if path == "/broken":
        raise RuntimeError("a fault")
    return Response(HTTPStatus.NOT_FOUND, b"no\n")


@pytest.fixture(scope="module")
def server() -> Iterator[HealthServer]:
    """A server on a free port."""
    server = HealthServer("127.0.0.1", 0, answer)
    yield server
    server.close()


def port_of(server: HealthServer) -> int:
    """Return its port."""
    return int(server.address.rpartition(":")[2])


def ask(server: HealthServer, path: str = "/livez", method: str = "GET") -> tuple[int, bytes]:
    """Send a request; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=60)
    connection.request(method, path)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


def send(server: HealthServer, data: bytes) -> bytes:
    """Send bytes; return all that comes back."""
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=60) as connection:
        received = b""
        with suppress(ConnectionError):  # it was closed before all was read
            connection.sendall(data)
            while more := connection.recv(65_536):
                received += more
        return received


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/livez", (200, b"live\n")),
        ("GET", "/livez?verbose=1", (200, b"live\n")),
        ("HEAD", "/livez", (200, b"")),
        ("GET", "/other", (404, b"no\n")),
        ("POST", "/livez", (405, b"Method Not Allowed\n")),
        ("GET", "/broken", (500, b"Internal Server Error\n")),
    ],
)
def test_requests_get_their_answers(server: HealthServer, method: str, path: str, expected: tuple[int, bytes]) -> None:
    """GET and HEAD of a known path are answered, and a fault of an answer is a 500."""
    assert ask(server, path, method) == expected


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n\r\n", b"400"),
        (b"GET /livez\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET /livez HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /livez HTTP/1.1\r\n" + b"X: 1\r\n" * 5_000 + b"\r\n", b"431"),
        (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /livez HTTP/2.0\r\n\r\n", b"400"),
    ],
    ids=["empty", "no version", "TLS", "long path", "huge header", "many headers", "bytes", "HTTP/2"],
)
def test_a_hostile_request_is_refused_and_the_next_one_is_answered(
    server: HealthServer, data: bytes, status: bytes
) -> None:
    """A request that is too large or no HTTP gets a refusal at most."""
    received = send(server, data)

    assert received[:12] in (b"HTTP/1.1 " + status, b"")
    assert ask(server) == (200, b"live\n")


def test_slow_clients_do_not_keep_a_probe_out(server: HealthServer) -> None:
    """Two hundred connections that send half a request each leave room for a probe."""
    slow = [socket.create_connection(("127.0.0.1", port_of(server)), timeout=60) for _ in range(200)]
    for connection in slow:
        with suppress(ConnectionError):
            connection.sendall(b"GET /livez HTTP/1.1\r\nX: ")

    assert ask(server) == (200, b"live\n")
    for connection in slow:
        connection.close()


def test_the_number_of_threads_is_bounded(server: HealthServer) -> None:
    """A flood of connections makes no more threads than connections are allowed."""
    before = threading.active_count()
    flood = [socket.create_connection(("127.0.0.1", port_of(server)), timeout=60) for _ in range(300)]

    wait_until(lambda: threading.active_count() - before <= 70, what="the threads of closed connections to end")
    assert ask(server) == (200, b"live\n")
    for connection in flood:
        connection.close()


def test_a_slow_client_is_hung_up_on(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that trickles its request ends, though each byte comes in time."""
    monkeypatch.setattr("eventkit.health.server._MAX_TIME", 0.2)
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=60) as connection:
        connection.sendall(b"GET /li")
        with suppress(ConnectionError):
            assert connection.recv(100) == b""


def test_a_taken_port_is_an_error_that_names_it(server: HealthServer) -> None:
    """The message has the address and the way out."""
    with pytest.raises(ConfigurationError, match=rf"--serve 127.0.0.1:{port_of(server)}: another process listens"):
        HealthServer("127.0.0.1", port_of(server), answer)


@pytest.mark.parametrize(
    ("host", "reason"),
    [("203.0.113.7", "this machine has no such address"), ("no-such-host.invalid", "the host cannot be found")],
)
def test_an_address_of_another_machine_is_an_error(host: str, reason: str) -> None:
    """An address that is not here cannot be served."""
    with pytest.raises(ConfigurationError, match=reason):
        HealthServer(host, 0, answer)


def test_a_forked_child_does_not_keep_the_port() -> None:
    """The child closes its copy, so that the port is free when the parent has ended."""
    received, sent = os.pipe()
    server = HealthServer("127.0.0.1", 0, answer)
    port = port_of(server)
    child = os.fork()
    if not child:
        os.close(sent)
        os.read(received, 1)  # the parent has closed its server
        os._exit(0)
    server.close()
    try:
        HealthServer("127.0.0.1", port, answer).close()
    finally:
        os.close(sent)
        os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),  # noqa: S104 asked for
        ("8080", ("127.0.0.1", 8080)),
        (":8080", ("127.0.0.1", 8080)),
        ("[::1]:8080", ("::1", 8080)),
        ("worker-0.shop.svc:65535", ("worker-0.shop.svc", 65_535)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, expected: tuple[str, int]) -> None:
    """A port alone is on the loopback interface."""
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", "127.0.0.1:http", ":65536", "::1:80", "http://x:80", "a:80/path", "-1", "٣"]
)
def test_another_text_is_no_address(text: str) -> None:
    """The message shows the text, and the forms that are known."""
    with pytest.raises(ConfigurationError, match="is no address to serve: it looks like"):
        parse_address(text)


def test_ipv6_is_served() -> None:
    """An address in brackets listens on IPv6."""
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        server = HealthServer("::1", 0, answer)
    except ConfigurationError:
        pytest.skip("this machine has no IPv6 loopback")
    with socket.create_connection(("::1", port_of(server)), timeout=60) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        assert connection.recv(1_000).startswith(b"HTTP/1.1 200 OK")
    server.close()
