"""The peers' benchmark in a tiny form, with one peer from PyPI; and its report of peers that cannot run here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers.debezium import Debezium
from benchmarks.peers.watermill import Watermill
from tests.servers import ServerMissing
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.servers.postgres import PostgresServer

PEERS = [sys.executable, "-m", "benchmarks", "peers"]


@pytest.mark.timeout(500)
def test_the_peers_run_prints_the_same_figures_of_each_contestant(
    postgres: PostgresServer, kafka: KafkaServer | GivenKafka, tmp_path: Path
) -> None:
    """Each carries the same events and is checked for lost, repeated and disordered ones; eventkit does so twice."""
    given = ["--database-url", postgres.url, "--transport-url", kafka.url, "--plot", str(tmp_path / "plot.svg")]
    size = ["--events", "1000", "--rate", "50", "--seconds", "0.5", "--rounds", "1"]
    size += ["--only", "eventkit,eventkit_structured,txoutbox"]

    done = subprocess.run([*PEERS, *given, *size, "--json"], capture_output=True, text=True, check=False, timeout=450)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for name in ("eventkit", "eventkit_structured", "txoutbox"):
        assert found[f"{name}_delivered"] == 1_000
        assert found[f"{name}_events_per_second"] > 0
        assert 0 < found[f"{name}_p50_ms"] <= found[f"{name}_p99_ms"]
    assert found["eventkit_contended"] > 0
    for name in ("eventkit", "eventkit_structured"):
        assert [found[f"{name}_{what}"] for what in ("lost", "duplicates", "reordered")] == [0, 0, 0]
    assert (found["eventkit_headers"], found["eventkit_structured_headers"]) == (7, 1)
    assert b"<svg" in (tmp_path / "plot.svg").read_bytes()


def test_an_unknown_contestant_is_refused_before_anything_starts() -> None:
    """One sentence names those that there are."""
    done = subprocess.run([*PEERS, "--only", "kafka"], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 2
    known = "eventkit, eventkit_structured, debezium, debezium_headers, debezium_warm, watermill, txoutbox"
    assert f"they are {known}, faststream_outbox" in done.stderr.replace("\n", " ")


def test_a_peer_without_its_tools_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Maven or Go a peer is left out, with a sentence that names the package to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tests.servers.jars.DEBEZIUM._cache", tmp_path / "jars")

    with pytest.raises(ServerMissing, match="apt-get install maven"):
        Debezium().prepare()
    with pytest.raises(ServerMissing, match="needs Go"):
        Watermill().prepare()
