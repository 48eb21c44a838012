"""The servers of the other tests do as their names say."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, Producer

from tests.conftest import LONG
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


def test_a_killed_kafka_comes_back_with_its_messages(kafka: object) -> None:
    """`kill()` is -9; `start()` uses the same port and data; `pause()` keeps acknowledgements away until `resume()`."""
    assert kafka
    with KafkaServer(heap="512m") as server:
        server.create_topic("orders", partitions=1, max_message_bytes=20_000)
        producer = Producer({"bootstrap.servers": server.bootstrap, "log_level": 0})
        producer.produce("orders", b"before the kill")
        assert producer.flush(30) == 0

        server.kill()
        server.start()
        server.pause()
        producer.produce("orders", b"during the pause")
        assert producer.flush(0.5) == 1
        server.resume()
        assert producer.flush(30) == 0

        assert _all(server, "orders", 2) == [b"before the kill", b"during the pause"]


@pytest.mark.parametrize(("broker", "program"), [("rabbitmq", "beam.smp"), ("activemq", "java")])
def test_a_kill_reaches_the_server_and_not_only_its_script(
    request: pytest.FixtureRequest, broker: str, program: str
) -> None:
    """A signal to RabbitMQ is one to its Erlang VM, to ActiveMQ one to its JVM."""
    pid = request.getfixturevalue(broker).pid

    assert Path(f"/proc/{pid}/exe").resolve().name.startswith(program)


def test_each_test_has_a_database_of_its_own(postgres: PostgresServer) -> None:
    """Two fresh databases share no rows, and a dropped one is gone although somebody is connected."""
    one, other = postgres.fresh(), postgres.fresh()
    with psycopg.connect(one) as connection:
        connection.execute("insert into eventkit.streams (stream, version) values ('order-1', 1)")
        connection.commit()
        with psycopg.connect(other) as beside:
            assert beside.execute("select count(*) from eventkit.streams").fetchone() == (0,)
        postgres.drop(one)

    postgres.drop(other)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(one)


@pytest.mark.both_postgres
def test_storage_can_be_tested_on_both_releases(database_url: str, postgres: PostgresServer) -> None:
    """The marker runs a test on PostgreSQL 15 and on 18."""
    with psycopg.connect(database_url) as connection:
        assert connection.execute("show server_version").fetchone()[0].split()[0] == postgres.version  # type: ignore[index]
    assert postgres.version.split(".")[0] in {"15", "18"}


def test_a_command_runs_beside_a_server_and_its_exit_code_is_kept(postgres: PostgresServer) -> None:
    """`python -m tests.servers postgres -- COMMAND` sets EVENTKIT_DATABASE_URL."""
    program = "import os, sys, psycopg; psycopg.connect(os.environ['EVENTKIT_DATABASE_URL']).close(); sys.exit(7)"
    command = [sys.executable, "-m", "tests.servers", "postgres", "--", sys.executable, "-c", program]

    release = postgres.version.split(".")[0]
    run = subprocess.run(command, cwd=ROOT, env={**os.environ, "EVENTKIT_TEST_POSTGRES": release}, check=False)

    assert run.returncode == 7


@pytest.mark.parametrize(("required", "code"), [("", 0), ("1", 1)])
def test_fetching_without_maven_names_the_package_to_install(tmp_path: Path, required: str, code: int) -> None:
    """A clear sentence; an error only where the servers are required."""
    environment = {**os.environ, "PATH": str(tmp_path), "EVENTKIT_REQUIRE_SERVERS": required}
    environment["EVENTKIT_TEST_SERVERS_CACHE"] = str(tmp_path)

    run = subprocess.run(
        [sys.executable, "-m", "tests.servers", "fetch"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == code
    assert "apt-get install maven" in run.stderr


@pytest.mark.parametrize(("required", "code"), [("", 0), ("1", 1)])
def test_a_test_that_starts_a_missing_server_of_its_own_is_skipped(tmp_path: Path, required: str, code: int) -> None:
    """As one that asks for the session's is: with a sentence; a failure only where the servers are required."""
    starting = "tests/transports/test_redis.py::test_settings_that_lose_messages_are_refused"

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", starting],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), "EVENTKIT_REQUIRE_SERVERS": required},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == code, run.stdout
    assert "apt-get install redis-server" in run.stdout
    assert ("3 skipped" in run.stdout) == (not required)


def test_the_files_that_begin_first_are_there() -> None:
    """A file that was renamed would begin last again, and nobody would notice."""
    assert [name for name in LONG if not (ROOT / "tests" / name).is_file()] == []


def _all(server: KafkaServer, topic: str, count: int) -> list[bytes | None]:
    settings = {"bootstrap.servers": server.bootstrap, "group.id": "g", "auto.offset.reset": "earliest"}
    values: list[bytes | None] = []
    with closing(Consumer(settings)) as consumer:
        consumer.subscribe([topic])

        def read() -> bool:
            values.extend(message.value() for message in consumer.consume(count, 0.1) if not message.error())
            return len(values) >= count

        wait_until(read, timeout=60, what=f"{count} messages")
    return values
