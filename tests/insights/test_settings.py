"""Each setting is listed with its origin; no secret is in the list."""

from pathlib import Path

import pytest

from eventkit.config import masked_url
from eventkit.insights import Insights, SettingInsight

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a settings file, and nothing in the environment."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "eventkit.toml").write_text('schema = "shop"\n[transport_options]\n"linger.ms" = 5\n')
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "TRANSPORT_URL", "SCHEMA", "MASTER_KEYS", "MASTER_KEYS_FILE"):
        monkeypatch.delenv(f"EVENTKIT_{name}", raising=False)
    return tmp_path


def listed(options: dict[str, str | None] | None = None) -> dict[str, SettingInsight]:
    """Return the settings by name; they need no database."""
    return {each.name: each for each in Insights.settings(None, options)}  # type: ignore[arg-type]


def test_each_setting_says_where_its_value_comes_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option wins over the environment, that over the file, that over the default."""
    monkeypatch.setenv("EVENTKIT_TRANSPORT_URL", "kafka://a:9092")
    monkeypatch.setenv("EVENTKIT_TRANSPORT_OPTION_acks", "all")

    found = listed({"database_url": "postgresql://ann@db/shop"})

    file = str(folder / "eventkit.toml")
    assert {(each.name, each.value, each.origin) for each in found.values()} == {
        ("database_url", "postgresql://ann@db/shop", "option"),
        ("transport_url", "kafka://a:9092", "EVENTKIT_TRANSPORT_URL"),
        ("schema", "shop", file),
        ("master_keys", None, "default"),
        ("registry_url", None, "default"),
        ("registry_subjects", "record", "default"),
        ("schema_id", "off", "default"),
        ("transport_options.linger.ms", "5", file),
        ("transport_options.acks", "all", "EVENTKIT_TRANSPORT_OPTION_acks"),
    }


def test_no_secret_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither passwords of addresses and of the broker's client, nor keys."""
    monkeypatch.setenv("EVENTKIT_DATABASE_URL", f"postgresql://ann:{SECRET}@db/shop?sslpassword={SECRET}")
    monkeypatch.setenv("EVENTKIT_TRANSPORT_URL", f"rabbitmq://ann:{SECRET}@mq:5672/shop")
    monkeypatch.setenv("EVENTKIT_TRANSPORT_OPTION_sasl.password", SECRET)
    monkeypatch.setenv("EVENTKIT_TRANSPORT_OPTION_ssl_key_pem", SECRET)

    found = listed()

    assert SECRET not in str(found)
    assert found["database_url"].value == "postgresql://ann:***@db/shop?sslpassword=***"
    assert found["transport_url"].value == "rabbitmq://ann:***@mq:5672/shop"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://db/shop", "postgresql://db/shop"),
        ("postgresql://ann@db:5432/shop?sslmode=require", "postgresql://ann@db:5432/shop?sslmode=require"),
        ("postgresql://ann:p@db/shop", "postgresql://ann:***@db/shop"),
        ("postgresql://ann:@db/shop", "postgresql://ann:***@db/shop"),
        ("postgresql://ann:p/q@db/shop", "postgresql://***"),
        ("postgresql://ann:p?q@db/shop", "postgresql://***"),
        ("postgresql://ann:p#q@db/shop", "postgresql://***"),
        ("postgresql://ann:p@q@db/shop", "postgresql://ann:***@db/shop"),
        ("postgresql://db/shop?user=ann&password=p", "postgresql://db/shop?user=ann&password=***"),
        ("redis://:p@host:6379/0", "redis://:***@host:6379/0"),
        ("kafka://a:9092,b:9092", "kafka://a:9092,b:9092"),
        ("kafka://a:9092?sasl.password=p", "kafka://a:9092?sasl.password=***"),
        ("postgresql://[ann:p@db", "postgresql://***"),
        ("ann:p@db", "***"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, masked: str) -> None:
    """In doubt, nothing but the scheme."""
    assert masked_url(url) == masked
