"""`python -m eventkit.embedded`: both servers with one command."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer


@pytest.fixture
def first_steps(room: Path) -> Iterator["subprocess.Popen[str]"]:
    """The command, running."""
    process = subprocess.Popen(
        [sys.executable, "-m", "eventkit.embedded"],
        env={**os.environ, "TMPDIR": str(room)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_one_command_lends_both_servers(first_steps: "subprocess.Popen[str]", room: Path, end: signal.Signals) -> None:
    """Its output can be pasted into a shell, and its servers answer; a signal ends it and leaves nothing."""
    assert first_steps.stdout
    lines = [first_steps.stdout.readline().strip() for _ in range(2)]
    names, urls = zip(*(line.removeprefix("export ").split("=", 1) for line in lines), strict=True)

    psycopg.connect(urls[0]).close()
    Producer({"bootstrap.servers": urls[1].removeprefix("kafka://")}).list_topics(timeout=60)
    first_steps.send_signal(end)
    _, said = first_steps.communicate(timeout=60)

    assert names == ("EVENTKIT_DATABASE_URL", "EVENTKIT_TRANSPORT_URL")
    assert "embedded broker, not durable" in said
    assert first_steps.returncode == 0
    assert list(room.iterdir()) == []
