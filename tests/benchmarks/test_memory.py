"""The memory benchmark in its short form: large events, and the bound that holds for any process."""

import json
import subprocess
import sys

import pytest

from benchmarks.memory import BOUND
from benchmarks.memory_readers import READERS
from tests.servers.postgres import PostgresServer


def measured(postgres: PostgresServer, *options: str) -> dict[str, float]:
    """Run the benchmark; return its figures."""
    words = [sys.executable, "-m", "benchmarks", "memory", "--database-url", postgres.url, *options, "--json"]

    done = subprocess.run(words, capture_output=True, check=False, text=True)

    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def test_readers_of_the_store_stay_below_the_bound(postgres: PostgresServer) -> None:
    """Small events, then 260 MB of large ones, of which half take a hundredth of that in the store."""
    figures = measured(postgres, "--from", "store", "--size", "mixed", "--large", "300", "--small", "1000")

    assert figures.keys() == {f"{what}_mixed_mb" for what in ("projector", "rebuild", *READERS)}
    assert all(0 < megabytes < BOUND for megabytes in figures.values()), figures


@pytest.mark.parametrize("broker", ["kafka", "rabbitmq", "redis", "activemq"])
def test_a_relay_and_a_projector_stay_below_the_bound_on_each_broker(
    postgres: PostgresServer, broker: str, request: pytest.FixtureRequest
) -> None:
    """A broker sends ahead by number: messages that grow from 200 bytes to 0.9 MB are bounded by bytes all the same."""
    request.getfixturevalue(broker)  # it skips where the broker is missing; the benchmark starts one of its own

    figures = measured(postgres, "--from", broker, "--size", "mixed", "--large", "250", "--small", "3000")

    assert figures.keys() == {f"relay_{broker}_mixed_mb", f"projector_{broker}_mixed_mb"}
    assert all(0 < megabytes < BOUND for megabytes in figures.values()), figures


def test_what_operators_do_to_one_long_stream_stays_below_the_bound(postgres: PostgresServer) -> None:
    """A park with all later events behind it, a redrive, an archive, a restore and a prune of 130 MB."""
    figures = measured(postgres, "--from", "operator", "--size", "large", "--large", "150")

    assert figures.keys() == {
        f"{what}_large_mb" for what in ("park", "letters", "find", "redrive", "archive", "restore", "prune")
    }
    assert all(0 < megabytes < BOUND for megabytes in figures.values()), figures


def test_small_events_that_make_much_stay_below_the_bound(postgres: PostgresServer) -> None:
    """Five hundred of them make 50 MB of rows, and 100 MB of commands."""
    figures = measured(postgres, "--from", "folds", "--size", "small", "--small", "500")

    assert figures.keys() == {"albums_small_mb", "desks_small_mb"}
    assert all(0 < megabytes < BOUND for megabytes in figures.values()), figures
