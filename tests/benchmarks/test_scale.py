"""Costs that grow and costs that stay flat, in a form too small to measure anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scale.curve import Curve
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.servers.postgres import PostgresServer

KEYS = {"memory_mb_at_10m", "rate_ratio_10m_to_100k", "poll_ratio_dead_rows", "append_ratio_10m_to_0"}
CURVES = {
    "backlog_events_per_second", "backlog_memory_mb", "dead_rows_poll_ms", "stored_appends_per_second",
    "streams_events_per_second", "relays_events_per_second", "projectors_events_per_second",
}  # fmt: skip
SIZES = [
    "--backlogs=500,1000", "--dead-rows=0,1000", "--stored=0,1000", "--streams=10", "--relays=2", "--projectors=1",
]  # fmt: skip


@pytest.mark.timeout(250)
def test_the_scale_run_prints_every_curve_with_its_slope(
    postgres: PostgresServer, kafka: KafkaServer | GivenKafka, tmp_path: Path
) -> None:
    """Each part is a list of figures by size and a slope; the figures that have a limit stand beside them."""
    given = ["--database-url", postgres.url, "--transport-url", kafka.url, "--plot", str(tmp_path / "plot.svg")]
    size = ["--events=500", "--seconds=0.2", "--rounds=1", "--json"]
    command = [sys.executable, "-m", "benchmarks", "scale", *given, *SIZES, *size]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert all(found[key] > 0 for key in KEYS)
    assert all(len(found[curve]) == len(found[f"{curve}_sizes"]) for curve in CURVES)
    assert {f"{curve}_slope" for curve in CURVES} <= set(found)
    assert b"<svg" in (tmp_path / "plot.svg").read_bytes()


@pytest.mark.parametrize(("exponent", "unit"), [(0.0, "flat"), (1.0, "linear"), (-0.5, "falling")])
def test_a_slope_is_the_exponent_of_the_growth(exponent: float, unit: str) -> None:
    """0 is flat, 1 grows with the size, below 0 falls."""
    curve = Curve("rate", unit, across="size", unit=unit)

    for size in (10, 1_000, 100_000):
        curve.add(size, 7 * size**exponent)

    assert curve.slope() == pytest.approx(exponent)
