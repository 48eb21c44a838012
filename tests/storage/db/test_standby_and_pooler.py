"""A standby and a pooler that shares sessions are refused: the one reorders events, the other breaks locks."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.errors import NotPrimary
from eventkit.storage import migrate
from eventkit.storage.db.connection import connect
from eventkit.storage.db.session_checks import check_session
from tests.faults.shop import Noted, shop, store
from tests.servers.postgres import by_tcp
from tests.waiting import wait_until

POOLER = """
[databases]
* = host=127.0.0.1 port={server} user=postgres password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
ignore_startup_parameters = extra_float_digits
{user}
"""


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder that another user can reach: neither server runs as root."""
    folder = Path(tempfile.mkdtemp(prefix="eventkit-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def standby(room: Path) -> Iterator[str]:
    """The address of a server in recovery, with our tables in it."""
    with EmbeddedPostgres(data=room / "data") as primary:
        migrate.upgrade(primary.url)
    (room / "data" / "standby.signal").touch()
    with EmbeddedPostgres(data=room / "data") as server:
        yield server.url


def pooled(url: str, folder: Path, mode: str) -> contextlib.AbstractContextManager[str]:
    """Lend the address of a PgBouncer before a database; a machine without it skips, and says how to get it."""
    program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        advice = "PgBouncer is not on this machine: install it (Debian: `apt-get install pgbouncer`)"
        (pytest.fail if os.environ.get("EVENTKIT_REQUIRE_SERVERS") == "1" else pytest.skip)(advice)
    return _pooled(program, url, folder, mode)


@contextlib.contextmanager
def _pooled(program: str, url: str, folder: Path, mode: str) -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    user = "user = nobody" if os.geteuid() == 0 else ""
    server = make_url(by_tcp(url))
    settings = POOLER.format(
        password=server.password, server=server.port, port=port, folder=folder, mode=mode, user=user
    )
    (folder / "pgbouncer.ini").write_text(settings)
    (folder / "users").write_text('"postgres" ""\n')
    process = subprocess.Popen([program, str(folder / "pgbouncer.ini")], stderr=subprocess.DEVNULL)
    address = f"postgresql://postgres@127.0.0.1:{port}/{server.database}"
    try:
        wait_until(lambda: answers(address), what="PgBouncer to answer")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


def answers(url: str) -> bool:
    """Return whether a session can be opened."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False


def test_a_standby_is_refused(standby: str) -> None:
    """A new session does not come about, and the message says that eventkit works on the primary."""
    with pytest.raises(
        NotPrimary, match=r"PostgreSQL at /.*:\d+.* is a standby.*on the primary alone; correct the URL"
    ):
        connect(standby, name="test")


def test_an_open_session_on_a_standby_is_refused(standby: str) -> None:
    """A session that came about in another way, or before the server lost its rank, is refused when it is checked."""
    with psycopg.connect(standby, autocommit=True) as session, pytest.raises(NotPrimary, match="is a standby"):
        check_session(session, "eventkit")


def test_a_pooler_that_shares_sessions_is_refused(database_url: str, room: Path) -> None:
    """Behind PgBouncer in transaction mode a lease would be worth nothing."""
    with (
        pooled(database_url, room, "transaction") as url,
        pytest.raises(NotPrimary, match=r"is a pooler that shares sessions.*connect to PostgreSQL directly"),
    ):
        connect(url, name="test")


def test_a_pooler_that_keeps_sessions_apart_is_taken(database_url: str, room: Path) -> None:
    """PgBouncer in session mode is as good as PostgreSQL, settings included."""
    with (
        pooled(database_url, room, "session") as url,
        connect(url, name="test", options={"work_mem": "9MB"}) as session,
    ):
        assert session.execute("show work_mem").fetchone() == ("9MB",)


def test_a_role_that_is_read_only_by_default_is_written_to_behind_a_pooler(database_url: str, room: Path) -> None:
    """PgBouncer refuses settings at the start, so the session is read-only until eventkit's settings are set."""
    server, database = by_tcp(database_url), make_url(database_url).database
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute(f"alter database {database} set default_transaction_read_only = on".encode())

    with pooled(server, room, "session") as url, connect(url, name="test") as ours:
        assert ours.execute("delete from eventkit.outbox").rowcount == 0


def test_a_shared_session_keeps_no_setting_of_eventkit(database_url: str, room: Path) -> None:
    """A command that a transaction pooler serves leaves the server's sessions, which are others' too, as they were."""
    with pooled(database_url, room, "transaction") as url:
        connect(url, name="test", schema=None).close()
        with psycopg.connect(url) as others:
            found = others.execute("select current_setting('jit'), current_setting('tcp_keepalives_idle')").fetchone()

    assert found == ("on", "7200")


def test_writers_behind_a_pooler_that_shares_sessions(database_url: str, room: Path) -> None:
    """Services append and read behind PgBouncer in transaction mode, without prepared statements: all is there."""
    with pooled(database_url, room, "transaction") as url:
        threads = [threading.Thread(target=write, args=(url, kind, f"{kind}{n}")) for n in range(4) for kind in WRITERS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with psycopg.connect(database_url) as session:
        query = "select stream, array_agg(version order by position), count(*) from eventkit.events group by 1"
        found = {stream: versions for stream, versions, _ in session.execute(query)}
        total = session.execute("select count(*) from eventkit.outbox").fetchone()

    assert len(found) == len(threads) + 1
    assert all(versions == list(range(1, len(versions) + 1)) for versions in found.values())
    assert total == (len(threads) * 2 * APPENDS,)


APPENDS = 15
WRITERS = ("psycopg", "sqlalchemy", "asyncpg", "asyncpg_session")


def write(url: str, kind: str, name: str) -> None:
    """Append to a stream of one's own and to one of all, transaction by transaction, and read back."""
    if kind == "psycopg":
        with psycopg.connect(url, prepare_threshold=None) as connection:
            for number in range(APPENDS):
                append_both(connection, name, number)
                connection.commit()
        return
    if kind.startswith("asyncpg"):
        asyncio.run(write_async(url, kind, name))
        return
    address = url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(address, connect_args={"prepare_threshold": None})
    for number in range(APPENDS):
        with Session(engine) as session, session.begin():
            append_both(session, name, number)
    engine.dispose()


async def write_async(url: str, kind: str, name: str) -> None:
    """Do that over asyncpg, without its cache of statements."""
    if kind == "asyncpg":
        connection = await asyncpg.connect(url, statement_cache_size=0)
        for number in range(APPENDS):
            async with connection.transaction():
                await append_both_async(connection, name, number)
        await connection.close()
        return
    address = url.replace("postgresql://", "postgresql+asyncpg://")
    settings = {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: f"eventkit_{uuid4().hex}",
    }
    engine = create_async_engine(address, connect_args=settings, poolclass=NullPool)
    for number in range(APPENDS):
        async with AsyncSession(engine) as session, session.begin():
            await append_both_async(session, name, number)
    await engine.dispose()


async def append_both_async(session: Any, name: str, number: int) -> None:  # noqa: ANN401 both kinds
    """Append, expecting the version of one's own stream."""
    await store.append_async(session, shop.stream("order", name), Noted(number), expected=number)
    await store.append_async(session, shop.stream("order", "shared"), Noted(number))
    assert len([one async for one in store.read_stream_async(session, shop.stream("order", name))]) == number + 1


def append_both(session: Any, name: str, number: int) -> None:  # noqa: ANN401 both kinds
    """Append, expecting the version of one's own stream."""
    store.append(session, shop.stream("order", name), Noted(number), expected=number)
    store.append(session, shop.stream("order", "shared"), Noted(number))
    assert len(list(store.read_stream(session, shop.stream("order", name)))) == number + 1
