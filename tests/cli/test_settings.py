"""Settings: defaults < a file < the environment < options; passwords in the environment alone."""

from pathlib import Path

import pytest

from eventkit.config import Settings, load, without_password
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
    """Without settings there is the default schema, and what is missing is asked for with the names to set."""
    settings = load()

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

    settings = load(schema="option", transport_url=None)

    assert settings.require_database() == "postgresql://file/db"
    assert settings.require_transport() == "kafka://environment"
    assert settings.schema == "option"
    assert settings.transport_options == {"linger.ms": "9", "acks": "all", "flag": "true"}


def test_pyproject_is_a_file_too_and_the_nearest_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service's pyproject.toml is found from its subfolders; one without our table is passed by."""
    (folder / "pyproject.toml").write_text('[tool.eventkit]\nschema = "shop"\n')
    inner = folder / "src" / "shop"
    inner.mkdir(parents=True)
    (folder / "src" / "pyproject.toml").write_text('[tool.other]\nschema = "other"\n')
    monkeypatch.chdir(inner)

    assert load().schema == "shop"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schemas = 'x'", "sets schemas, which eventkit does not know: there are database_url"),
        ("schema = 5", "schema has the wrong type"),
        ("transport_options = 'x'", "transport_options has the wrong type"),
        ("schema = ", "cannot be read"),
        ("schema = 'public'", "schema 'public' cannot be used: eventkit needs one of its own"),
        (f"database_url = 'postgresql://me:{SECRET}@h/d'", "set EVENTKIT_DATABASE_URL in the environment"),
        (f"transport_options = {{'sasl.password' = '{SECRET}'}}", "EVENTKIT_TRANSPORT_OPTION_sasl.password"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(folder: Path, text: str, said: str) -> None:
    """A mistake in a file is an error that names the mistake, never silence, and never shows a password."""
    (folder / "eventkit.toml").write_text(text)

    with pytest.raises(ConfigurationError, match=said) as caught:
        load()

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
    """Whoever may list processes would see it."""
    with pytest.raises(ConfigurationError, match=r"EVENTKIT_DATABASE_URL in the environment.*PGPASSWORD") as caught:
        load(database_url=url)

    assert SECRET not in str(caught.value)


def test_a_password_in_the_environment_is_taken_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reaches who asks for the address, and no log that prints the settings."""
    url = f"postgresql://me:{SECRET}@host/db"
    monkeypatch.setenv("EVENTKIT_DATABASE_URL", url)
    monkeypatch.setenv("EVENTKIT_TRANSPORT_OPTION_sasl.password", SECRET)

    settings = load()

    assert settings.require_database() == url
    assert settings.transport_options == {"sasl.password": SECRET}
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    "url", ["postgresql://me@host:5432/db", "kafka://a:9092,b:9092", "postgresql:///db", "kafka://[::1]:9"]
)
def test_an_address_without_a_password_is_an_option(url: str) -> None:
    """A port, several hosts or an IPv6 address are no password."""
    assert load(transport_url=url).require_transport() == url


def test_an_address_can_be_shown_without_its_password() -> None:
    """Everything else of it stays."""
    assert without_password(f"postgresql://me:{SECRET}@host:5432/db?x=1") == "postgresql://me:***@host:5432/db?x=1"
    assert without_password(f"postgresql://host/db?password={SECRET}&x=1") == "postgresql://host/db?password=***&x=1"
    assert without_password("kafka://host:9092") == "kafka://host:9092"


def test_an_unknown_setting_is_named() -> None:
    """A program that hands over what does not exist is told."""
    with pytest.raises(ConfigurationError, match=r"unknown settings \['database'\]"):
        load(database="x")
