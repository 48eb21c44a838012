"""Fetch the programs of the tests' servers, or lend a server to a command.

    python -m tests.servers fetch                   into .servers/: jars of Kafka, ActiveMQ, Apicurio and Debezium,
                                                    through Maven;
                                                    payloads of GitHub's webhooks, CloudEvents' SDK and the readers
                                                    of contracts (AsyncAPI, TypeScript), through npm;
                                                    programs with CloudEvents' SDKs for Go and Java
    python -m tests.servers postgres -- COMMAND...  COMMAND with EVENTKIT_DATABASE_URL at a temporary PostgreSQL
    python -m tests.servers kafka -- COMMAND...     COMMAND with EVENTKIT_TRANSPORT_URL at a temporary Apache Kafka

They nest: `python -m tests.servers postgres -- python -m tests.servers kafka -- COMMAND`.
EVENTKIT_TEST_POSTGRES=15|18 chooses the release.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

import click

from tests.sdks.programs import VERSIONS, programs
from tests.servers import ServerMissing, node_tools, payloads
from tests.servers.jars import ACTIVEMQ, APICURIO, DEBEZIUM, KAFKA
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer, default_release

Run = Callable[[Sequence[str]], int]


def fetch(_command: Sequence[str]) -> int:
    """Fetch the jars, payloads and programs that this machine has the tools for; return 1 if one is missing."""
    brokers = (KAFKA, ACTIVEMQ, APICURIO, DEBEZIUM)
    wanted: dict[str, Callable[[], object]] = {f"the jars of {jars.title}": jars.fetch for jars in brokers}
    wanted |= {payloads.TITLE: payloads.fetch, node_tools.TITLE: node_tools.fetch}
    wanted |= {program.title: program.fetch for program in programs(*VERSIONS)}
    missing = False
    for title, fetched in wanted.items():
        try:
            click.echo(f"{title}: {fetched()}")
        except ServerMissing as reason:
            click.echo(reason, err=True)
            missing = True
    return int(missing)


def postgres(command: Sequence[str]) -> int:
    """Run a command beside a PostgreSQL."""
    server = PostgresServer.start(int(os.environ.get("EVENTKIT_TEST_POSTGRES") or default_release()))
    try:
        return _run(command, EVENTKIT_DATABASE_URL=server.url)
    finally:
        server.stop()


def kafka(command: Sequence[str]) -> int:
    """Run a command beside an Apache Kafka."""
    with KafkaServer() as server:
        return _run(command, EVENTKIT_TRANSPORT_URL=server.url)


def main(arguments: Sequence[str]) -> int:
    """Run the command that the first argument names; return an exit code."""
    actions: dict[str, Run] = {"fetch": fetch, "postgres": postgres, "kafka": kafka}
    name, *rest = arguments or [""]
    command = rest[1:] if rest[:1] == ["--"] else rest
    if name not in actions or (name != "fetch" and not command):
        click.echo(__doc__, err=True)
        return 2
    try:
        code = actions[name](command)
    except ServerMissing as missing:
        click.echo(missing, err=True)
        code = 1
    tolerated = name == "fetch" and os.environ.get("EVENTKIT_REQUIRE_SERVERS") != "1"
    return 0 if tolerated else code


def _run(command: Sequence[str], **environment: str) -> int:
    return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
