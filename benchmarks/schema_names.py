"""The cost of naming schemas: the relay with each `schema_id`, and a reader of its messages, in turns.

The registry is a small server of this process, which knows the one type. The relay asks it once.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from benchmarks.backlog import PARTITIONS, TOPIC, Backlog
from benchmarks.consumers import Lap
from benchmarks.draining import drained
from benchmarks.measure import Rounds
from benchmarks.servers import Kafka

FORMS = ("off", "dataschema", "header", "payload")
NOTES = """\
relay: as above, with the setting schema_id; reader: the subscription of a projector alone, which takes a frame off, in
  one process; each form in a topic of its own, in turns; CPU seconds of the measured time, of that process alone"""
_VERSION = {"subject": "bench.OrderPlaced", "version": 1, "id": 7, "schemaType": "JSON", "schema": "{}"}


class SchemaNamesRun:
    """Rounds over one database and one broker."""

    def __init__(self, database_url: str, kafka: Kafka, registry: str, **backlog: int) -> None:
        """Use a registry; `backlog` has the numbers of events and streams, and the size."""
        self._database_url = database_url
        self._kafka = kafka
        self._registry = registry
        self._backlog = backlog
        self._rounds = 0
        self.relay, self.reader = Rounds(), Rounds()

    def round(self) -> None:
        """Let the relay send a backlog with each form, and a reader read it."""
        first = self._rounds % len(FORMS)
        self._rounds += 1
        for form in FORMS[first:] + FORMS[:first]:
            topic = f"{TOPIC}.{form}-{self._rounds}"
            self._kafka.create_topic(topic, PARTITIONS)
            backlog = Backlog(self._database_url, **self._backlog, topic=topic)
            backlog.fill()
            settings = {"EVENTKIT_REGISTRY_URL": self._registry, "EVENTKIT_SCHEMA_ID": form}
            sample = drained(self._database_url, self._kafka.bootstrap, backlog, settings=settings)
            self.relay.add(form, sample)
            backlog.close()
            self.reader.add(form, self._read(topic, backlog.events).sample)

    def _read(self, topic: str, events: int) -> Lap:
        words = ["subscription", self._database_url, self._kafka.bootstrap, topic, f"bench-{topic}", str(events)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.consumers", *words], check=True, stdout=subprocess.PIPE
        )
        return msgspec.json.decode(done.stdout, type=Lap)


@contextmanager
def registry() -> Iterator[str]:
    """Serve a registry that knows the type of the backlog; lend its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Registry(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        answer = (
            _VERSION if path.endswith("/1") else [1] if path.endswith("/versions") else {"compatibilityLevel": "NONE"}
        )
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...
