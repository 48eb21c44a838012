"""`eventkit web`: on this machine and read-only unless told, and refused where it would let everybody act."""

import re
import socket
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from eventkit.cli import main
from tests.process import EventkitProcess
from tests.waiting import wait_until


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--host", "0.0.0.0"), "--allowed-host NAME"),  # noqa: S104 refused
        (("--host", "0.0.0.0", "--allowed-host", "ops", "--allow-actions"), "--user-header NAME"),  # noqa: S104 refused
        (("--allowed-host", "ops.example.com", "--allow-actions"), "--allowed-host ops.example.com"),
        (("--allowed-host", "localhost", "--allowed-host", "*", "--allow-actions"), "--user-header NAME"),
    ],
)
def test_a_page_in_reach_of_others_needs_names(words: tuple[str, ...], reason: str) -> None:
    """Names of hosts, and a header with the user before anybody may act, also behind a proxy on the same machine."""
    answer = CliRunner().invoke(main, ["web", *words], env={"EVENTKIT_DATABASE_URL": "postgresql://nobody@localhost/x"})

    assert answer.exit_code == 2
    assert reason in answer.output


def test_it_serves_the_page_and_ends_at_sigterm(database_url: str, tmp_path: Path) -> None:
    """The log names the address and the mode; the first SIGTERM ends it, also while a browser holds the stream."""
    log = tmp_path / "log"
    with EventkitProcess(database_url, "local://", log, "web", "--port", "0") as process:
        started = wait_until(lambda: re.search(r"the page is at (http://127.0.0.1:\d+), read-only", log.read_text()))
        address = started[1] if started else ""
        page = urllib.request.urlopen(address + "/relay").read().decode()  # noqa: S310 its own address
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as stream:
            stream.sendall(f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            assert stream.recv(100).startswith(b"HTTP/1.1 200")
            process.terminate()

    assert "<h1>Relay</h1>" in page
