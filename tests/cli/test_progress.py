"""A rebuild says how far it is: by a bar where somebody looks on, by lines where the output is kept."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.projection.recorded import record
from tests.projection.run.test_running import MODELS, environment
from tests.projection.shop import CREATE, orders

COMMAND = [sys.executable, "-m", "eventkit.cli", "projection", "rebuild", f"{MODELS}:totals", "--workers", "1"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(database_url: str) -> str:
    """A database with a read model to be rebuilt from 1,200 events."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    record(database_url, orders("order-1", 1_200))
    return database_url


def test_on_a_terminal_a_rebuild_shows_a_bar_with_rate_and_time_left(url: str) -> None:
    """The bar is drawn on stderr, and stdout has the outcome alone."""
    screen, terminal = pty.openpty()
    settings = environment(url, TERM="xterm", COLUMNS="160")
    running = subprocess.Popen(COMMAND, cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    drawn = _all_of(screen)
    out, _ = running.communicate(timeout=60)

    assert running.returncode == 0, drawn
    assert re.search(r"totals: .*100%.*1,200 of 1,200 events, [\d,]+/s.*\d:\d\d:\d\d", drawn), drawn
    assert out.decode().startswith("totals: 1,200 events in")


def test_in_a_log_file_a_rebuild_prints_a_line_a_stage(url: str) -> None:
    """Nothing moves the cursor, and `--json` has stdout for itself."""
    done = subprocess.run(
        [*COMMAND, "--json"], cwd=ROOT, env=environment(url), capture_output=True, text=True, timeout=60, check=True
    )

    said = [line.partition(",")[0] for line in done.stderr.splitlines() if line.startswith("totals: ")]
    assert list(dict.fromkeys(said)) == ["totals: feed", "totals: index", "totals: catch up", "totals: swap"]
    assert "totals: swap, 1,200 of 1,200 events" in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stdout.startswith('[{"projection": "totals"')


def _all_of(screen: int) -> str:
    """Read the terminal until its last owner has closed it."""
    drawn = b""
    try:
        while piece := os.read(screen, 4_096):
            drawn += piece
    except OSError:  # Linux says so at the end of a terminal
        pass
    os.close(screen)
    return drawn.decode()
