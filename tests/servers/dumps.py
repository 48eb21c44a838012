"""Dumps of a database by PostgreSQL's own programs, and their restores."""

import subprocess
from pathlib import Path

from tests.servers.postgres import PostgresServer, program


def dump(server: PostgresServer, url: str, file: Path) -> None:
    """Write a database into a file."""
    subprocess.run([program(server, "pg_dump"), "-Fc", "-f", str(file), "-d", url], check=True)


def restore(server: PostgresServer, url: str, file: Path, *, clean: bool = False) -> None:
    """Read a file into a database; `clean` drops existing objects, all in one transaction, while others work there."""
    options = ["--clean", "--if-exists"] if clean else []
    command = [program(server, "pg_restore"), "--single-transaction", *options, "-d", url, str(file)]
    for _ in range(5):  # it may lose a deadlock against those who work there
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if "deadlock detected" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
