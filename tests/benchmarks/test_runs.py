"""Every benchmark runs, in a form too small to measure anything, and prints every figure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.kafka import GivenKafka, KafkaServer
from tests.servers.postgres import PostgresServer


def figures(plot: Path, *arguments: str) -> dict[str, float]:
    """Run a benchmark, let it draw its picture, and return its last line."""
    command = [sys.executable, "-m", "benchmarks", *arguments, "--json", "--rounds", "1", "--plot", str(plot)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert b"<svg" in plot.read_bytes()
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(250)
def test_the_relay_run_prints_its_rate_beside_the_raw_parts(
    postgres: PostgresServer, kafka: KafkaServer | GivenKafka, tmp_path: Path
) -> None:
    """All of a backlog is settled and in the topic, and there is a figure for each contestant."""
    given = ("--database-url", postgres.url, "--transport-url", kafka.url)

    found = figures(tmp_path / "plot.svg", "relay", *given, "--events", "2000", "--streams", "50")

    assert found.pop("settled_all") is True
    assert set(found) == {
        "relay_events_per_second", "raw_produce_events_per_second", "raw_read_events_per_second", "ratio_to_limit",
    }  # fmt: skip
    assert min(found.values()) > 0


@pytest.mark.timeout(250)
def test_the_latency_run_prints_its_percentiles_at_each_rate(
    postgres: PostgresServer, kafka: KafkaServer | GivenKafka, tmp_path: Path
) -> None:
    """There are percentiles for each rate, the highest of which is replaced where the writers cannot hold it."""
    given = ("--database-url", postgres.url, "--transport-url", kafka.url)
    size = ("--rates", "20,1000000", "--seconds", "0.5", "--warm", "0.1")

    found = figures(tmp_path / "plot.svg", "latency", *given, *size)

    assert 1 <= found["highest_rate"] < 1_000_000
    assert 0 < found["p50_ms_20"] <= found["p99_ms_20"] <= found["p999_ms_20"]
    assert 0 < found["p50_ms_highest"] <= found["p99_ms_highest"] <= found["p999_ms_highest"]
    assert found["idle_cpu_percent"] >= 0
    assert (found["lost"], found["reordered"]) == (0, 0)


@pytest.mark.timeout(250)
def test_the_append_run_prints_its_ratios_to_the_same_rows_by_hand_and_to_a_peer(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """There is a ratio for a psycopg connection, one for a Session, one to eventsourcing, and one for inline."""
    size = ("--processes", "2", "--seconds", "0.2", "--stored", "1000")
    found = figures(tmp_path / "plot.svg", "append", "--database-url", postgres.url, *size)

    ratios = {"to_psycopg", "to_session", "to_eventsourcing", "of_inline", "of_inline_on_one_row", "of_two_tags"}
    assert {"decision_read_ms", *(f"append_ratio_{name}" for name in ratios)} <= set(found)
    assert min(found.values()) > 0


@pytest.mark.timeout(250)
def test_the_subscribe_run_prints_its_percentiles(postgres: PostgresServer) -> None:
    """All events that were written are in the loop."""
    command = [sys.executable, "-m", "benchmarks", "subscribe", "--json", "--rounds", "1", "--seconds", "0.5"]
    done = subprocess.run(
        [*command, "--rate", "40", "--database-url", postgres.url],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["events"] == 20
    assert 0 < found["subscribe_p50_ms"] <= found["subscribe_p99_ms"]
