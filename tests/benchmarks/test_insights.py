"""The benchmark of the insights in its short form."""

import json
import subprocess
import sys

from tests.servers.postgres import PostgresServer


def test_insights_prints_each_answers_times(postgres: PostgresServer) -> None:
    """Two thousand streams: each answer has its p50 and p99, and the worst is among them."""
    size = ["--streams", "2000", "--events", "20000", "--letters", "3000", "--rounds", "2", "--json"]
    words = [sys.executable, "-m", "benchmarks", "insights", "--database-url", postgres.url, *size]

    done = subprocess.run(words, capture_output=True, check=False, text=True)

    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["worst_p99_ms"] == max(value for name, value in figures.items() if name.endswith("_p99_ms"))
    assert figures["page_worst_first_ms"] >= figures["page_attention_first_ms"]
    assert {"relay_p50_ms", "projections_p99_ms", "dead_letter_groups_p99_ms", "events_p99_ms"} <= figures.keys()
    assert all(value > 0 for value in figures.values())
