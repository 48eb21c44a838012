"""Dumps of a database by PostgreSQL's own programs, and their restores."""

import os
import subprocess
from pathlib import Path

from tests.servers.postgres import PostgresServer, program

# As a role for dumps should have it; a run under hostile settings has limits of a millisecond for every role.
_SANE = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_read_only": "off",
}


def dump(server: PostgresServer, url: str, file: Path) -> None:
    """Write a database into a file."""
    command = [program(server, "pg_dump"), "-Fc", "-f", str(file), "-d", url]
    subprocess.run(command, check=True, env=_environment())


def restore(server: PostgresServer, url: str, file: Path, *, clean: bool = False) -> None:
    """Read a file into a database; `clean` drops existing objects, all in one transaction, while others work there."""
    options = ["--clean", "--if-exists"] if clean else []
    command = [program(server, "pg_restore"), "--single-transaction", *options, "-d", url, str(file)]
    for _ in range(5):  # it may lose a deadlock against those who work there
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=_environment())
        if "deadlock detected" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in _SANE.items())}
