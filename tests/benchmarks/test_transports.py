"""The transports' benchmark in its tiny form: it runs on each broker, and prints its figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.activemq import ActiveServer
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

BROKERS = ("kafka", "rabbitmq", "redis", "activemq")
FIGURES = ("ratio", "events_per_second", "client_events_per_second")


@pytest.mark.timeout(250)
def test_the_transports_run_prints_the_rates_of_each_broker_beside_its_clients(
    postgres: PostgresServer,
    kafka: KafkaServer | GivenKafka,
    rabbitmq: RabbitServer,
    redis: RedisServer,
    activemq: ActiveServer,
    tmp_path: Path,
) -> None:
    """Both ways publish and consume everything, on all four, and requests are answered."""
    urls = [word for server in (kafka, rabbitmq, redis, activemq) for word in ("--transport-url", server.url)]
    size = [
        "--events",
        "500",
        "--streams",
        "20",
        "--requests",
        "5",
        "--rounds",
        "1",
        "--json",
        "--plot",
        str(tmp_path / "plot.svg"),
    ]

    command = [sys.executable, "-m", "benchmarks", "transports", "--database-url", postgres.url, *urls, *size]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=200)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {
        *(f"{broker}_{what}_{figure}" for broker in BROKERS for what in ("publish", "consume") for figure in FIGURES),
        *(f"{broker}_request_reply_p50_ms" for broker in BROKERS),
    }
    assert min(found.values()) > 0
    assert b"<svg" in (tmp_path / "plot.svg").read_bytes()
