"""Ctrl-C at every stage of a long-running command: the first ends it, even if a server hangs; the second at once."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from eventkit.embedded.kafka import EmbeddedKafka
from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.storage.migrate import upgrade
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
RELAY = ("relay", "run")
STORE = ("projector", "run", "tests.projection.read_models:noted", "--from", "store")
PROJECTOR = ("projector", "run", "tests.projection.read_models:noted", "--topic", "shop.order")
TIMERS = ("timers", "run")
RUNS = pytest.mark.parametrize(
    "command", [RELAY, PROJECTOR, STORE, TIMERS], ids=["relay", "projector", "from store", "timers"]
)


class Command:
    """A command as a process, its log in a file."""

    def __init__(self, arguments: tuple[str, ...], database: str, transport: str, log: Path) -> None:
        """Start it."""
        settings = {**os.environ, "EVENTKIT_DATABASE_URL": database, "EVENTKIT_TRANSPORT_URL": transport}
        self._log = log
        with log.open("wb") as file:
            command = [sys.executable, "-m", "eventkit.cli", *arguments]
            self.process = subprocess.Popen(command, cwd=ROOT, env=settings, stderr=file)

    @property
    def log(self) -> str:
        """The log of the process."""
        return self._log.read_text()

    def says(self, words: str) -> None:
        """Wait for words in its log."""
        wait_until(lambda: words in self.log, timeout=60, what=f"{words!r} in {self.log}")

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send one signal; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def run(arguments: tuple[str, ...], database: str, transport: str, log: Path) -> Iterator[Command]:
    """Run a command beside the test."""
    command = Command(arguments, database, transport, log)
    try:
        yield command
    finally:
        command.process.kill()
        command.process.wait()


def sessions(url: str) -> list[int]:
    """Return the server's processes that serve eventkit."""
    with psycopg.connect(url) as connection:
        found = connection.execute("select pid from pg_stat_activity where application_name like 'eventkit%'")
        return [pid for (pid,) in found]


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield server


@RUNS
def test_while_it_works(command: tuple[str, ...], database_url: str, embedded_kafka: EmbeddedKafka, log: Path) -> None:
    """The first signal is a clean end."""
    with run(command, database_url, embedded_kafka.url, log) as running:
        running.says("reads shop.order" if command is PROJECTOR else "holding")
        code = running.interrupt()

    assert code == 0, running.log
    assert "Traceback" not in running.log


@RUNS
def test_while_the_database_does_not_answer_at_the_start(
    command: tuple[str, ...], silent: socket.socket, embedded_kafka: EmbeddedKafka, log: Path
) -> None:
    """Nothing is under way yet: it ends without waiting for the client's time limit."""
    url = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/shop?connect_timeout=600"
    with run(command, url, embedded_kafka.url, log) as running:
        held = silent.accept()
        code = running.interrupt(signal.SIGTERM)
        held[0].close()

    assert code == 0, running.log
    assert running.log.splitlines() == ["SIGTERM: finishing the work in flight; once more to end at once"]


@pytest.mark.parametrize("command", [RELAY, PROJECTOR], ids=["relay", "projector"])
def test_while_the_broker_does_not_answer_at_the_start(
    command: tuple[str, ...], silent: socket.socket, database_url: str, log: Path
) -> None:
    """The client's own patience is not waited for."""
    with run(command, database_url, f"kafka://127.0.0.1:{silent.getsockname()[1]}", log) as running:
        held = silent.accept()
        code = running.interrupt()
        held[0].close()

    assert code == 0, running.log
    assert " waits: " not in running.log, "the client has given up first"


@pytest.mark.parametrize("command", [RELAY, STORE, TIMERS], ids=["relay", "from store", "timers"])
def test_while_it_stands_by(
    command: tuple[str, ...], database_url: str, embedded_kafka: EmbeddedKafka, log: Path
) -> None:
    """A standby leaves as well as the one that works."""
    with run(command, database_url, embedded_kafka.url, log) as leader:
        leader.says("holding")
        with run(command, database_url, embedded_kafka.url, log.with_suffix(".second")) as standby:
            standby.says("standing by")
            code = standby.interrupt()

    assert code == 0, standby.log


@RUNS
def test_while_the_database_is_frozen(
    command: tuple[str, ...], own_postgres: EmbeddedPostgres, embedded_kafka: EmbeddedKafka, log: Path
) -> None:
    """A statement that gets no answer is abandoned, and the log says so."""
    with run(command, own_postgres.url, embedded_kafka.url, log) as running:
        running.says("reads shop.order" if command is PROJECTOR else "holding")
        frozen = sessions(own_postgres.url)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        code = running.interrupt()
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)

    assert code == 0, running.log


@RUNS
def test_while_it_waits_for_the_database_to_come_back(
    command: tuple[str, ...], own_postgres: EmbeddedPostgres, embedded_kafka: EmbeddedKafka, log: Path
) -> None:
    """Waiting ends with the first signal."""
    with run(command, own_postgres.url, embedded_kafka.url, log) as running:
        running.says("reads shop.order" if command is PROJECTOR else "holding")
        own_postgres.crash()
        if command is not PROJECTOR:  # with no event to apply, it needs no database yet
            running.says(" waits: ")
        code = running.interrupt()

    assert code == 0, running.log
    assert "Traceback" not in running.log


def test_the_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Even where the first has no effect: here the projection's module never ends."""
    (tmp_path / "endless.py").write_text("import time\nprint('here', flush=True)\nwhile True: time.sleep(1)\n")
    program = "import sys; sys.path.insert(0, sys.argv.pop()); from eventkit.cli import main; main()"
    arguments = ["projector", "run", "endless:model", "--from", "store", str(tmp_path)]
    settings = {**os.environ, "EVENTKIT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith(b"SIGINT: ")
        process.send_signal(signal.SIGINT)

        assert process.wait(60) == 128 + signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("verb", [["projector", "run"], ["projection", "rebuild"]], ids="".join)
def test_while_the_services_code_is_imported(verb: list[str], number: signal.Signals, tmp_path: Path) -> None:
    """Nothing is under way: the first signal ends it at once, and the exit code has its number."""
    (tmp_path / "endless.py").write_text("import time\nprint('here', flush=True)\nwhile True: time.sleep(1)\n")
    settings = {**os.environ, "EVENTKIT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}
    command = [sys.executable, "-m", "eventkit.cli", *verb, "endless:model"]
    with subprocess.Popen(command, env=settings, cwd=tmp_path, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)

    assert process.returncode == 128 + number
    assert said == f"{number.name}: no work was in progress\n"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="makes a namespace of processes: as root")
@pytest.mark.parametrize("words", [["db", "current"], ["projector", "run", "slow:model"]], ids=["any", "projector"])
def test_as_a_containers_first_process(words: list[str], tmp_path: Path) -> None:
    """It has number 1, to which the kernel gives no signal without a handler; here click takes long to import."""
    (tmp_path / "click.py").write_text("import time\nprint('here', flush=True)\nwhile True: time.sleep(1)\n")
    program = "import sys; sys.path.insert(0, sys.argv.pop()); from eventkit.cli import main; main()"
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", program, *words, str(tmp_path)]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        (first,) = psutil.Process(process.pid).children()
        first.send_signal(signal.SIGTERM)

        assert process.wait(60) == 128 + signal.SIGTERM


def test_a_signal_interrupts_a_wait() -> None:
    """The handler may interrupt the very moment at which the main thread holds the lock it wants."""
    program = """
import os, signal
from eventkit.worker import Stop
stop = Stop()
stop.on_signals()
with stop._event._cond:
    os.kill(os.getpid(), signal.SIGTERM)
print(stop.wait(60))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout == "True\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where a command's log goes."""
    return tmp_path / "log"


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that the test may crash."""
    with EmbeddedPostgres(durable=False) as server:
        upgrade(server.url)
        yield server
