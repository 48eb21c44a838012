"""The memory benchmark in its short form: large events, and the bound that holds for any process."""

import json
import subprocess
import sys

from benchmarks.memory import BOUND
from tests.servers.postgres import PostgresServer


def test_a_projector_of_large_events_stays_below_the_bound(postgres: PostgresServer) -> None:
    """88 MB of events wait, of which half take a hundredth of that in the store."""
    size = ["--large", "100", "--small", "500", "--workers", "1", "--json"]
    words = [sys.executable, "-m", "benchmarks", "memory", "--database-url", postgres.url, *size]

    done = subprocess.run(words, capture_output=True, check=False, text=True)

    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures.keys() == {f"{what}_{size}_mb" for what in ("projector", "rebuild") for size in ("large", "small")}
    assert all(0 < megabytes < BOUND for megabytes in figures.values()), figures
