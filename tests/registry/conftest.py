"""A server that gives any answers, also those that no registry gives."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Answers(ThreadingHTTPServer):
    """Answers each path as `answers` says, else with `otherwise`; keeps the paths and the last headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.otherwise = (404, b'{"error_code": 40401, "message": "not there"}')
        self.gate = threading.Event()  # no question is answered while it is not set
        self.gate.set()
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}

    @property
    def url(self) -> str:
        """The address of the registry, without a password."""
        return f"http://127.0.0.1:{self.server_port}/api"

    def registers(self, subject: str, *versions: dict[str, object]) -> None:
        """Have the versions of a subject, as Confluent's API has them."""
        numbers = list(range(1, len(versions) + 1))
        self.answers[f"/subjects/{subject}/versions"] = (200, json.dumps(numbers).encode())
        for number, version in zip(numbers, versions, strict=True):
            body = json.dumps({"subject": subject, "version": number, "schemaType": "JSON", **version}).encode()
            self.answers[f"/subjects/{subject}/versions/{number}"] = (200, body)


class _Handler(BaseHTTPRequestHandler):
    server: Answers

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/api")
        self.server.asked.append(path)
        self.server.headers = dict(self.headers)
        self.server.gate.wait(60)
        status, body = self.server.answers.get(path, self.server.otherwise)
        self.send_response(status)
        if status // 100 == 3:
            self.send_header("location", f"{self.server.url}/login")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def web() -> Iterator[Answers]:
    """A server without answers."""
    server = Answers()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
