"""The rebuild's benchmark in its tiny form: it runs, checks its read models, and prints its figures."""

import json
import subprocess
import sys

from tests.servers.postgres import PostgresServer

KEYS = {
    "rebuild_events_per_second",
    "sql_projection_events_per_second",
    "eventsourcing_events_per_second",
    "peak_memory_mb",
    "load_100_events_p50_ms",
}


def test_rebuild_prints_its_figures(postgres: PostgresServer) -> None:
    """A few hundred events through every contestant: these keys and no others, and no read model was wrong."""
    size = ["--events", "600", "--streams", "20", "--rounds", "1", "--peer-events", "50", "--json"]
    words = [sys.executable, "-m", "benchmarks", "rebuild", "--database-url", postgres.url, *size]

    done = subprocess.run(words, capture_output=True, check=False, text=True)

    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures.keys() == KEYS
    assert all(value > 0 for value in figures.values())
