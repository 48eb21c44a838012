"""A process that owns a server, for tests that kill it: `python -m tests.embedded.owner postgres|kafka|real-kafka`.

It says its server's address on one line, and stops it when its standard input ends.
"""

import sys

from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.embedded.postgres import EmbeddedPostgres
from tests.servers.kafka import KafkaServer

Server = EmbeddedPostgres | EmbeddedKafka | KafkaServer
KINDS: dict[str, type[Server]] = {"postgres": EmbeddedPostgres, "kafka": EmbeddedKafka, "real-kafka": KafkaServer}


def main(kind: str) -> None:
    """Own a server until the input ends."""
    with KINDS[kind]() as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
