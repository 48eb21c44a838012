"""Settings: defaults < a file < the environment < options; passwords in the environment alone."""

import os
from pathlib import Path

import pytest

from eventkit.config import Settings, load_settings
from eventkit.errors import ConfigurationError

SECRET = "hush-7f3a"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with nothing in it, and an environment without settings."""
    for name in ("DATABASE_URL", "TRANSPORT_URL", "SCHEMA", "TRANSPORT_OPTION_linger.ms"):
        monkeypatch.delenv(f"EVENTKIT_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_is_given() -> None:
    """Without settings there is the default schema, and the error for a missing one has the names to set."""
    settings = load_settings()

    assert settings == Settings(schema="eventkit")
    with pytest.raises(
        ConfigurationError, match=r"no database .* EVENTKIT_DATABASE_URL=.*eventkit\.toml.*--database-url"
    ):
        settings.require_database()
    with pytest.raises(ConfigurationError, match=r"no transport .* EVENTKIT_TRANSPORT_URL=kafka://"):
        settings.require_transport()


def test_options_win_over_the_environment_and_that_over_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place counts where the next one is silent."""
    file = 'database_url = "postgresql://file/db"\ntransport_url = "kafka://file"\nschema = "file"\n'
    (folder / "eventkit.toml").write_text(file + "[transport_options]\n'linger.ms' = 5\n'acks' = 'all'\nflag = true\n")
    monkeypatch.setenv("EVENTKIT_TRANSPORT_URL", "kafka://environment")
    monkeypatch.setenv("EVENTKIT_SCHEMA", "environment")
    monkeypatch.setenv("EVENTKIT_TRANSPORT_OPTION_linger.ms", "9")

    settings = load_settings(schema="option", transport_url=None)

    assert settings.require_database() == "postgresql://file/db"
    assert settings.require_transport() == "kafka://environment"
    assert settings.schema == "option"
    assert settings.transport_options == {"linger.ms": "9", "acks": "all", "flag": "true"}


def test_an_option_may_be_written_without_quotes(folder: Path) -> None:
    """TOML then nests tables by its dots."""
    (folder / "eventkit.toml").write_text("[transport_options]\nlinger.ms = 5\nlinger.other = true\n'a.b' = 1.5\n")

    assert load_settings().transport_options == {"linger.ms": "5", "linger.other": "true", "a.b": "1.5"}


@pytest.mark.parametrize("name", ["eventkit.toml", "pyproject.toml"])
@pytest.mark.parametrize("form", ["utf-8-sig", "crlf", "quoted"])
def test_a_file_of_another_editor_is_read(folder: Path, name: str, form: str) -> None:
    """With a byte order mark, with line ends of Windows, with quoted keys."""
    text = "schema = 'shop'\n" if name == "eventkit.toml" else "[tool.eventkit]\nschema = 'shop'\n"
    if form == "quoted":
        text = "'schema' = 'shop'\n" if name == "eventkit.toml" else '["tool"]\neventkit = {schema = "shop"}\n'
    data = text.replace("\n", "\r\n").encode() if form == "crlf" else text.encode("utf-8-sig")
    (folder / name).write_bytes(data)

    assert load_settings().schema == "shop"


def test_pyproject_is_a_file_too_and_the_nearest_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service's pyproject.toml is found from its subfolders; one without our table is passed by."""
    (folder / "pyproject.toml").write_text('[tool.eventkit]\nschema = "shop"\n')
    inner = folder / "src" / "shop"
    inner.mkdir(parents=True)
    (folder / "src" / "pyproject.toml").write_text('[tool.other]\nschema = "other"\n')
    monkeypatch.chdir(inner)

    assert load_settings().schema == "shop"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schemas = 'x'", "sets schemas, which eventkit does not know: there are database_url"),
        ("schema = 5", "schema has the wrong type"),
        ("transport_options = 'x'", "transport_options has the wrong type"),
        ("transport_options = {a = ['x']}", "the transport option a has the wrong type"),
        ("transport_options = {a.b = 2026-01-01}", r"the transport option a\.b has the wrong type"),
        pytest.param("transport_options.a" + ".a" * 2_000 + " = []", "has the wrong type", id="deep"),
        ("schema = ", "cannot be read"),
        ("schema = 'public'", "schema 'public' cannot be used: eventkit needs one of its own"),
        (f"database_url = 'postgresql://me:{SECRET}@h/d'", "set EVENTKIT_DATABASE_URL in the environment"),
        (f"[transport_options]\nsasl.password = '{SECRET}'", "EVENTKIT_TRANSPORT_OPTION_sasl.password"),
        pytest.param("schema = 'x' #" + "x" * 1_000_000, "is larger than 1,000,000 bytes", id="large"),
        ("schema = 'x'\r", "cannot be read"),
        (f"transport_options = {{'sasl.password' = '{SECRET}'}}", "EVENTKIT_TRANSPORT_OPTION_sasl.password"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(folder: Path, text: str, said: str) -> None:
    """A mistake in a file is an error that names the mistake, never silence, and never shows a password."""
    (folder / "eventkit.toml").write_text(text)

    with pytest.raises(ConfigurationError, match=said) as caught:
        load_settings()

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@host/db",
        f"postgresql://host/db?user=me&password={SECRET}",
        f"postgresql://host/db?sslpassword={SECRET}",
        f"postgresql://me:12/{SECRET}@host/db",
        f"postgresql://:{SECRET}@host/db",
    ],
)
def test_a_password_in_an_option_is_refused(url: str) -> None:
    """A process list would show it."""
    with pytest.raises(ConfigurationError, match=r"EVENTKIT_DATABASE_URL in the environment.*PGPASSWORD") as caught:
        load_settings(database_url=url)

    assert SECRET not in str(caught.value)


def test_a_password_in_the_environment_is_taken_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reaches who asks for the address, and no log that prints the settings."""
    url = f"postgresql://me:{SECRET}@host/db"
    monkeypatch.setenv("EVENTKIT_DATABASE_URL", url)
    monkeypatch.setenv("EVENTKIT_TRANSPORT_OPTION_sasl.password", SECRET)

    settings = load_settings()

    assert settings.require_database() == url
    assert settings.transport_options == {"sasl.password": SECRET}
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    "url", ["postgresql://me@host:5432/db", "kafka://a:9092,b:9092", "postgresql:///db", "kafka://[::1]:9"]
)
def test_an_address_without_a_password_is_an_option(url: str) -> None:
    """A port, several hosts or an IPv6 address are no password."""
    assert load_settings(transport_url=url).require_transport() == url


def test_an_unknown_setting_is_named() -> None:
    """A program that passes a setting that does not exist gets an error."""
    with pytest.raises(ConfigurationError, match=r"unknown settings \['database'\]"):
        load_settings(database="x")


OURS = 'schema = "above"\n'


def above(folder: Path, name: str = "eventkit.toml", text: str = OURS) -> Path:
    """Write a file two folders above the one to work in; return its path."""
    (folder / "mine" / "work").mkdir(parents=True)
    (folder / name).write_text(text)
    return folder / name


def work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Load the settings in the lower folder."""
    monkeypatch.chdir(folder / "mine" / "work")
    return load_settings()


ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.mark.parametrize(
    ("mode", "owner", "group", "said"),
    [
        (0o644, -1, -1, None),
        (0o664, -1, os.getegid(), None),
        (0o666, -1, -1, "everybody may write it"),
        pytest.param(0o664, -1, 12345, "group 12345 may write it", marks=ROOT_ONLY),
        pytest.param(0o644, 12345, -1, "it belongs to user 12345", marks=ROOT_ONLY),
        pytest.param(0o644, -1, 12345, None, marks=ROOT_ONLY),
    ],
)
def test_a_file_counts_only_where_no_stranger_may_have_written_it(  # noqa: PLR0913, PLR0917 the fields of a file's status
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    mode: int, owner: int, group: int, said: str | None,
) -> None:  # fmt: skip
    """It is this user's or root's, and nobody writes it but they and this user's primary group; else it is named."""
    for name, text in (("eventkit.toml", OURS), ("pyproject.toml", f"[tool.eventkit]\n{OURS}")):
        file = above(folder / name[:4], name, text)
        os.chown(file, owner, group)
        file.chmod(mode)

        settings = work(folder / name[:4], monkeypatch)

        assert settings.schema == ("eventkit" if said else "above")
        assert settings.file == (None if said else file)
        assert not said or f"{file} is ignored: {said}" in caplog.messages[-1]


def test_a_mounted_file_is_a_link_to_a_file_of_roots(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Kubernetes mounts a ConfigMap: link to link to file."""
    inner = folder / "..2026"
    inner.mkdir()
    (inner / "eventkit.toml").write_text(OURS)
    (folder / "..data").symlink_to("..2026")
    (folder / "mine" / "work").mkdir(parents=True)
    (folder / "eventkit.toml").symlink_to("..data/eventkit.toml")

    assert work(folder, monkeypatch).schema == "above"


@ROOT_ONLY
def test_a_strangers_link_to_our_file_is_ignored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of our files counts is not a stranger's to say."""
    file = above(folder)
    file.rename(folder / "other.toml")
    file.symlink_to("other.toml")
    os.lchown(file, 12345, 12345)

    assert work(folder, monkeypatch).schema == "eventkit"


@pytest.mark.parametrize("marker", [".git", "worktree"])
def test_the_search_ends_at_the_projects_root(folder: Path, monkeypatch: pytest.MonkeyPatch, marker: str) -> None:
    """A file above a checkout does not belong to the project; in a worktree `.git` is a file."""
    above(folder)
    (folder / "mine" / ".git").mkdir() if marker == ".git" else (folder / "mine" / ".git").write_text("gitdir: x")

    assert work(folder, monkeypatch).schema == "eventkit"


BROKEN = ["[tool.ruff\nx = ", "tool = 5", "[tool]\neventkit = 5", "\0\xff" * 9, "x = " + "[" * 20_000]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_pyproject_of_others_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """It says nothing of eventkit."""
    above(folder, "pyproject.toml", text)

    assert work(folder, monkeypatch).schema == "eventkit"


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "dangling", "loop"])
@pytest.mark.parametrize("name", ["eventkit.toml", "pyproject.toml"])
def test_a_settings_path_that_is_no_file_is_ignored(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    """Nobody waits for a FIFO, or reads a device to its end."""
    place = above(folder, name)
    place.unlink()
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to({"device": "/dev/zero", "dangling": "nowhere", "loop": name}[kind])

    assert work(folder, monkeypatch).schema == "eventkit"


def test_a_working_directory_that_is_gone_has_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may outlive the folder it was started in."""
    gone = folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert load_settings().file is None


@pytest.mark.parametrize(
    "text",
    [
        "transport_options = {'plugin.library.paths' = '/x.so'}",
        "transport_options = {PLUGIN_library_paths = '/x.so'}",
        "transport_options = {'ssl.engine.location' = '/x.so'}",
        "[transport_options]\nplugin.library.paths = '/x.so'",
        "[transport_options.ssl]\nengine.location = '/x.so'",
        "transport_options = {'ssl.providers' = 'x'}",
        "transport_options = {'sasl.kerberos.kinit.cmd' = 'x'}",
        "transport_url = 'kafka://h?plugin.library.paths=/x.so'",
        "transport_url = 'kafka://h?a=b&plugin%2Elibrary.paths=/x.so'",
        "database_url = 'postgresql://h/d?sslkey=engine:key'",
    ],
)
def test_a_file_cannot_name_code_to_be_loaded_or_run(folder: Path, text: str) -> None:
    """The person who starts a process chooses the code that it loads."""
    (folder / "eventkit.toml").write_text(text)

    with pytest.raises(ConfigurationError, match=r"which loads code into this process: set .*EVENTKIT_"):
        load_settings()
