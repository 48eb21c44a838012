"""deploy/Dockerfile: clean by hadolint; its commands run as process 1, without rights, on a read-only filesystem.

`scripts/image.py` builds the image without a container engine, and runs its commands in it; it takes minutes, so no
test calls it.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from eventkit.embedded.kafka import EmbeddedKafka
from tests.deploy import DEPLOY
from tests.process import ROOT
from tests.servers.postgres import by_tcp
from tests.waiting import wait_until

FILE = DEPLOY / "Dockerfile"
WRITES = """
import os
for path in ("/x", "/etc/x", "/tmp/checkout/x", "/tmp/x"):
    try:
        open(path, "w").close()
        print("wrote", path)
    except OSError:
        pass
print(os.getpid(), os.getuid())
"""


def contained(*words: str) -> list[str | Path]:
    """Return a command line that runs Python in this checkout as the image's container would."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("only root can make namespaces, by unshare and setpriv of util-linux")
    if not Path(sys.executable).is_relative_to(ROOT):
        pytest.skip("Python runs from outside of the checkout")
    return [ROOT / "scripts/contained.sh", "/", Path(sys.executable).relative_to(ROOT), *words]


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of a contained process, in which this checkout and its Python can be read."""
    homes = {"HOMES": sys.base_prefix} if sys.base_prefix.startswith("/root/") else {}
    return {**os.environ, "CHECKOUT": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **homes, **settings}


@contextmanager
def running(log: Path, *words: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of eventkit as process 1 of a container; its log goes to a file."""
    command = contained("-m", "eventkit.cli", *words)
    with log.open("wb") as file, subprocess.Popen(command, env=environment(**settings), stderr=file) as process:
        try:
            yield process
        finally:
            process.kill()  # and with it the process inside


def test_hadolint_has_no_remark() -> None:
    """Neither about the instructions nor about the shell commands in them."""
    hadolint = Path(sys.executable).with_name("hadolint")
    checked = subprocess.run([hadolint, FILE], capture_output=True, text=True, check=False)

    assert checked.stdout == ""
    assert checked.returncode == 0


def test_it_copies_only_files_that_its_context_has() -> None:
    """The ignore file beside it names each source, and each is in the checkout."""
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    lines = [line.split() for line in FILE.read_text().splitlines() if line.startswith("COPY ")]
    sources = [word for words in lines if not words[1].startswith("--from") for word in words[1:-1]]

    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored or source.startswith("scripts/eventkit_outbox."), source


def test_a_contained_process_is_number_1_and_writes_only_its_tmp() -> None:
    """The rig below is as strict as the container's settings in compose.yaml and on Kubernetes."""
    done = subprocess.run(contained("-c", WRITES), env=environment(), capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["wrote /tmp/x", "1 10001"]


def test_a_relay_as_process_1_ends_cleanly_when_it_is_asked_to(
    database_url: str, embedded_kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    """The kernel drops a signal that process 1 has no handler for: the relay has one, and ends with 0."""
    log = tmp_path / "log"
    settings = {"EVENTKIT_DATABASE_URL": by_tcp(database_url), "EVENTKIT_TRANSPORT_URL": embedded_kafka.url}
    with running(log, "relay", "run", **settings) as process:
        wait_until(lambda: "holding" in log.read_text(), what="a relay that leads")
        [inside] = psutil.Process(process.pid).children()

        inside.send_signal(signal.SIGTERM)

        assert process.wait(60) == 0
    assert "stopped:" in log.read_text()
