"""Servers end with their owner, however that ends, and take their files with them."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from eventkit.embedded.postgres import EmbeddedPostgres
from tests.embedded.conftest import PACKAGES, ROOT, Owner
from tests.waiting import wait_until

KINDS = ("postgres", "kafka", "real-kafka")
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture(autouse=True)
def jars(request: pytest.FixtureRequest) -> None:
    """A real Kafka needs its jars: say so, as for every other test."""
    if "real-kafka" in request.node.name:
        request.getfixturevalue("kafka")


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_that_stops_its_server_leaves_no_process_and_no_file(
    own: Callable[..., Owner], room: Path, kind: str
) -> None:
    """After the `with` there is no process, no file and no listener."""
    owner = own(kind)

    owner.leave()

    owner.await_end_of_family()
    assert owner.process.returncode == 0
    assert list(room.iterdir()) == []
    assert not owner.accepts()


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_that_is_killed_leaves_no_process_and_no_file(
    own: Callable[..., Owner], room: Path, kind: str
) -> None:
    """`kill -9` of the owner ends its servers and removes their folder."""
    owner = own(kind)

    owner.kill()

    owner.await_end_of_family()
    wait_until(lambda: list(room.iterdir()) == [], what=f"an empty {room}")
    assert not owner.accepts()


def test_a_server_with_open_sessions_ends_when_its_owner_is_killed(own: Callable[..., Owner], room: Path) -> None:
    """A client that stays connected in a transaction does not keep the server alive."""
    owner = own("postgres")
    with contextlib.closing(psycopg.connect(owner.url)) as connection:
        connection.execute("create table t as select 1")

        owner.kill()

        owner.await_end_of_family()
        wait_until(lambda: list(room.iterdir()) == [], what=f"an empty {room}")


def test_a_server_ends_when_its_guardian_is_killed(own: Callable[..., Owner]) -> None:
    """Should somebody kill the guardian too, the kernel ends the server."""
    owner = own("postgres")

    owner.guardian().kill()
    owner.kill()

    owner.await_end_of_family()


def test_a_fork_of_the_owner_neither_ends_the_server_nor_keeps_it(room: Path) -> None:
    """A forked child that leaves through `stop()` stops nothing: the server is its parent's."""
    with EmbeddedPostgres() as postgres:
        child = os.fork()
        if child == 0:
            postgres.stop()
            os._exit(0)
        os.waitpid(child, 0)

        psycopg.connect(postgres.url).close()

    assert list(room.iterdir()) == []


@pytest.mark.parametrize("kind", ["postgres", "kafka"])
def test_no_root_is_needed(own: Callable[..., Owner], room: Path, kind: str) -> None:
    """An unprivileged user starts and stops the same servers."""
    python = _python_of_nobody() if os.geteuid() == 0 else [sys.executable]
    if not python:
        pytest.skip("user nobody can run neither this Python nor the system's: move it out of closed folders")
    owner = own(kind, python)

    assert owner.accepts()
    owner.leave()

    owner.await_end_of_family()
    assert list(room.iterdir()) == []


def test_the_port_of_a_stopped_server_is_free(room: Path) -> None:
    """Nothing holds the port after the stop."""
    with EmbeddedPostgres() as postgres:
        port = urlsplit(postgres.url).port

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    assert list(room.iterdir()) == []


def _python_of_nobody() -> list[str]:
    """Return how to run Python as nobody: this one, else the system's of the same release on the same packages."""
    system = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (sys.executable, system):
        command = [*AS_NOBODY, python]
        itself = "import subprocess, sys, psycopg; subprocess.run([sys.executable, '-V'], check=True)"
        if (
            subprocess.run(
                [*command, "-c", itself], env=PACKAGES, cwd=ROOT, check=False, capture_output=True
            ).returncode
            == 0
        ):
            return command
    return []
