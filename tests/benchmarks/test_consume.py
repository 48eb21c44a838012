"""The consumers' benchmark in its tiny form: it runs, checks its read models, and prints its figures."""

import json
import subprocess
import sys

from tests.servers.kafka import GivenKafka, KafkaServer
from tests.servers.postgres import PostgresServer

KEYS = {
    "table_projection_events_per_second",
    "table_projection_ratio",
    "table_projection_cold_ratio",
    "shared_rows_ratio",
    "sql_projection_ratio",
    "raw_consume_events_per_second",
}


def test_consume_prints_its_figures(postgres: PostgresServer, kafka: KafkaServer | GivenKafka) -> None:
    """A few hundred events through every contestant: the keys are there, and no read model was wrong."""
    servers = ["--database-url", postgres.url, "--transport-url", f"kafka://{kafka.bootstrap}"]
    size = ["--events", "600", "--streams", "2", "--rounds", "1", "--json"]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "consume", *servers, *size], capture_output=True, check=False, text=True
    )

    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures.keys() >= KEYS
    assert all(value > 0 for value in figures.values())
