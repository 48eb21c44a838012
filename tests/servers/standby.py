"""A standby of an embedded PostgreSQL: a base backup that streams, can be cut off so that it lags, and promoted."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from eventkit.embedded.guard import unprivileged
from eventkit.embedded.postgres import EmbeddedPostgres
from tests.servers.postgres import PostgresServer, program
from tests.waiting import wait_until

_TIMEOUT = 60  # seconds


class Standby:
    """It streams asynchronously from its primary."""

    def __init__(self, primary: EmbeddedPostgres, server: EmbeddedPostgres) -> None:
        self._primary = primary
        self.server = server

    def catch_up(self) -> None:
        """Wait until it has all that the primary has now."""
        with psycopg.connect(self._primary.url) as primary, psycopg.connect(self.server.url) as here:
            (now,) = primary.execute("select pg_current_wal_flush_lsn()::text").fetchone() or ("",)
            reached = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
            wait_until(
                lambda: here.execute(reached, [now]).fetchone() == (True,), timeout=_TIMEOUT, what="it to have all"
            )

    def cut_off(self) -> None:
        """Let it receive nothing more."""
        with psycopg.connect(self.server.url, autocommit=True) as here:
            here.execute("alter system set primary_conninfo = ''")
            here.execute("select pg_reload_conf()")
            receiving = "select from pg_stat_wal_receiver"
            wait_until(lambda: not here.execute(receiving).fetchall(), timeout=_TIMEOUT, what="its receiver to end")

    def promote(self) -> None:
        """Make it a primary."""
        with psycopg.connect(self.server.url, autocommit=True) as here:
            here.execute("select pg_promote()")
            wait_until(
                lambda: here.execute("select pg_is_in_recovery()").fetchone() == (False,),
                timeout=_TIMEOUT,
                what="the promotion",
            )


@contextmanager
def standby_of(primary: EmbeddedPostgres) -> Iterator[Standby]:
    """Lend a standby that streams from a primary."""
    folder = Path(tempfile.mkdtemp(prefix="eventkit-test-"))
    folder.chmod(0o755)
    try:
        backup = program(PostgresServer(primary.url, primary.version), "pg_basebackup")
        data = _back_up(primary, backup, folder / "data")
        binaries = Path(backup).parent
        with EmbeddedPostgres(data=data, binaries=binaries) as server:
            yield Standby(primary, server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _back_up(primary: EmbeddedPostgres, program: str, data: Path) -> Path:
    subprocess.run([program, "-D", str(data), "-d", primary.url, "-R", "-X", "stream", "-c", "fast"], check=True)
    if account := unprivileged():  # the server runs as another user than the tests
        for path in (data, *data.rglob("*")):
            os.chown(path, *account)
    return data
