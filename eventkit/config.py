"""The settings of a process: defaults < a file < a framework < the environment < options.

Only this module reads the environment.

    eventkit.toml, or [tool.eventkit] in pyproject.toml: database_url transport_url schema registry_url schema_id
    registry_subjects, a table [transport_options]
    EVENTKIT_<NAME> for each, and EVENTKIT_TRANSPORT_OPTION_<name>
    EVENTKIT_MASTER_KEYS or EVENTKIT_MASTER_KEYS_FILE, in the environment alone

The file is the nearest one in the working directory or above it (see `settings_file`). A password belongs in the
environment or in pgpass. Other users can read a file or an option, so a password there is an error. So is an unknown
name.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

from eventkit.domain.master_keys import MasterKeys
from eventkit.errors import ConfigurationError
from eventkit.settings_file import NAME as FILE
from eventkit.settings_file import SettingsFile, check_options, find

DEFAULT_SCHEMA = "eventkit"
PREFIX = "EVENTKIT_"
OPTION_PREFIX = "EVENTKIT_TRANSPORT_OPTION_"
MASTER_KEYS = "EVENTKIT_MASTER_KEYS"
MASK = "***"  # stands for a secret

_CHOICES = {"schema_id": ("off", "dataschema", "header", "payload"), "registry_subjects": ("record", "topic-record")}
_NAMES = ("database_url", "transport_url", "schema", "registry_url", *_CHOICES)
_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")

ENCODE = "special characters in a password are written percent-encoded (/ as %2F, @ as %40)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a process; `transport_options` are passed to the broker's client unchanged."""

    database_url: str | None = field(
        default=None, repr=False, metadata={"help": "PostgreSQL: `postgresql://user@host:5432/database`."}
    )
    transport_url: str | None = field(default=None, repr=False, metadata={"help": "The broker: `kafka://host:9092`."})
    transport_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    schema: str = field(default=DEFAULT_SCHEMA, metadata={"help": "The PostgreSQL schema of eventkit's tables."})
    master_keys: MasterKeys | None = field(
        default=None,
        metadata={"help": "They encrypt the keys of personal data. `EVENTKIT_MASTER_KEYS_FILE` names a file of them."},
    )
    registry_url: str | None = field(
        default=None, repr=False, metadata={"help": "The schema registry, by Confluent's API: `https://registry:8081`."}
    )
    schema_id: str = field(
        default="off",
        metadata={"help": "How the relay names schemas: `off`, `dataschema`, `header` or `payload`."},
    )
    registry_subjects: str = field(
        default="record", metadata={"help": "How subjects are named: `record` or `topic-record`."}
    )
    file: Path | None = None  # the file that was read

    def __post_init__(self) -> None:
        check_schema(self.schema)
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise ConfigurationError(f"{name} is {value!r:.60}: set one of {', '.join(choices)}")

    def require_database(self) -> str:
        """Return the database's address, or raise ConfigurationError."""
        return _required(self.database_url, "database", "postgresql://user@host:5432/database")

    @property
    def sqlalchemy_url(self) -> str:
        """The database's address for SQLAlchemy's `create_engine` and `create_async_engine`, by psycopg."""
        return "postgresql+psycopg://" + self.require_database().partition("://")[2]

    def require_master_keys(self) -> MasterKeys:
        """Return the master keys, or raise ConfigurationError."""
        if self.master_keys is None:
            raise ConfigurationError(
                f"no master key is given: set {MASTER_KEYS}, or {MASTER_KEYS}_FILE to the path of a file with it; "
                "`eventkit privacy new-key` makes one"
            )
        return self.master_keys

    def require_transport(self) -> str:
        """Return the broker's address, or raise ConfigurationError."""
        return _required(self.transport_url, "transport", "kafka://host:9092")

    def require_registry(self) -> str:
        """Return the schema registry's address, or raise ConfigurationError."""
        if self.registry_url:
            return self.registry_url
        raise ConfigurationError(
            f"no schema registry is given: set EVENTKIT_REGISTRY_URL=https://registry:8081, or registry_url in {FILE}"
        )


def load_settings(**options: str | None) -> Settings:
    """Return the settings; an option that is None counts as not given.

    Raises ConfigurationError for an unknown name, a value that cannot be used, or a password in a file or an option.
    """
    unknown = set(options) - set(_NAMES)
    if unknown:
        raise ConfigurationError(f"unknown settings {sorted(unknown)}: there are {', '.join(_NAMES)}")
    given = {name: value for name, value in options.items() if value is not None}
    _refuse_passwords(given, "an option, where every user of this machine can see it")
    values = {**_from_file(find()), **_framework.values, **_from_environment(), **given}
    file_options = values.pop("transport_options", {})
    options_now = {**file_options, **_options_from_environment()}
    return Settings(**values, transport_options=options_now, master_keys=_master_keys())


class _Framework:
    """The settings that a framework gives in this process, and its name."""

    def __init__(self) -> None:
        self.name = ""
        self.values: dict[str, str] = {}


_framework = _Framework()


@contextmanager
def given_by(framework: str, **settings: str | None) -> Iterator[None]:
    """Let a framework give settings inside this context: they override a file, and the environment overrides them.

    A framework keeps passwords in its own way, so they are accepted. None counts as not given.
    """
    before = _framework.name, _framework.values
    _framework.name = framework
    _framework.values = {name: value for name, value in settings.items() if value is not None}
    try:
        yield
    finally:
        _framework.name, _framework.values = before


class SettingOrigin(NamedTuple):
    """A setting, and where its value comes from: `default`, `option`, a variable's name, a framework, a file's path."""

    name: str
    value: str | None  # secrets are masked
    origin: str


def setting_origins(**options: str | None) -> list[SettingOrigin]:
    """Return all settings of this process as `load_settings` finds them; passwords and keys are masked."""
    given = {name: value for name, value in options.items() if value is not None}
    from_file, from_environment = _from_file(find()), _from_environment()
    settings = load_settings(**options)
    origins: dict[str, str] = dict.fromkeys([*_NAMES, "master_keys"], "default")
    origins |= dict.fromkeys(from_file.keys() - {"file", "transport_options"}, str(settings.file))
    origins |= dict.fromkeys(_framework.values, _framework.name)
    origins |= {name: PREFIX + name.upper() for name in from_environment} | dict.fromkeys(given, "option")
    if settings.master_keys is not None:
        origins["master_keys"] = MASTER_KEYS if os.environ.get(MASTER_KEYS) else f"{MASTER_KEYS}_FILE"
    own = _options_from_environment()
    return [
        *(SettingOrigin(name, _masked(name, getattr(settings, name)), origin) for name, origin in origins.items()),
        *(
            SettingOrigin(
                f"transport_options.{name}",
                MASK if _is_secret(name) else value,
                OPTION_PREFIX + name if name in own else str(settings.file),
            )
            for name, value in sorted(settings.transport_options.items())
        ),
    ]


def _masked(name: str, value: object) -> str | None:
    if value is None:
        return None
    text = MASK if name == "master_keys" else str(value)
    return masked_url(text) if name.endswith("_url") else text


def masked_url(url: str) -> str:
    """Return an address without its secrets; only the scheme of one whose password cannot be told from its path."""
    if "://" not in url:
        return MASK if "@" in url else url
    scheme = url.partition("://")[0]
    if is_ambiguous(url):
        return f"{scheme}://{MASK}"
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{scheme}://{MASK}"
    user, at, hosts = parts.netloc.rpartition("@")
    user = f"{user.partition(':')[0]}:{MASK}" if ":" in user else user
    query = [(key, MASK if _is_secret(key) else value) for key, value in parse_qsl(parts.query, keep_blank_values=True)]
    return urlunsplit(parts._replace(netloc=f"{user}{at}{hosts}", query=urlencode(query, safe="*/:,")))


def check_schema(name: str) -> str:
    """Return the name of a PostgreSQL schema, or refuse it."""
    if not _SCHEMA.fullmatch(name) or name.startswith("pg_") or name in {"public", "information_schema"}:
        raise ConfigurationError(
            f"schema {name!r} cannot be used: eventkit needs one of its own, of 1 to 63 letters, digits, _ or -, "
            "not beginning with a digit or pg_"
        )
    return name


def has_password(url: str) -> bool:
    """Return whether an address carries a password, in front of the host or in its query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "@" in url
    names = {name.lower() for name in parse_qs(parts.query, keep_blank_values=True)}
    return ":" in parts.netloc.rpartition("@")[0] or any(map(_is_secret, names)) or is_ambiguous(url)


def is_ambiguous(url: str) -> bool:
    """Return whether a part of a password may be read as host or path, because it has an unescaped / ? or # in it."""
    _, _, rest = url.partition("://")
    after = re.split("[/?#]", rest, maxsplit=1)[1:]
    return "#" in rest or any("@" in text for text in after)


def _is_secret(option: str) -> bool:
    name = option.lower().replace("_", ".")
    return any(word in name for word in ("password", "passphrase", "secret", "key.pem"))


def _required(value: str | None, name: str, example: str) -> str:
    if value:
        return value
    raise ConfigurationError(
        f"no {name} is given: set EVENTKIT_{name.upper()}_URL={example}, or {name}_url in {FILE}, "
        f"or say `eventkit --{name}-url URL ...`"
    )


def _from_environment() -> dict[str, Any]:
    return {name: value for name in _NAMES if (value := os.environ.get(PREFIX + name.upper()))}


def _master_keys() -> MasterKeys | None:
    text, path = os.environ.get(MASTER_KEYS), os.environ.get(f"{MASTER_KEYS}_FILE")
    if path and not text:
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{MASTER_KEYS}_FILE: {path} cannot be read: {error}") from error
    return MasterKeys.parse(text) if text else None


def _options_from_environment() -> dict[str, str]:
    return {
        name.removeprefix(OPTION_PREFIX): value for name, value in os.environ.items() if name.startswith(OPTION_PREFIX)
    }


def _from_file(file: SettingsFile | None) -> dict[str, Any]:
    if file is None:
        return {}
    options = _check_file(file.path, file.values)
    return {**file.values, "transport_options": options, "file": file.path}


def _check_file(path: Path, values: dict[str, Any]) -> dict[str, str]:
    """Check a file's values; return its options for the broker's client."""
    known = (*_NAMES, "transport_options")
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigurationError(
            f"{path} sets {', '.join(unknown)}, which eventkit does not know: there are {', '.join(known)}"
        )
    wrong = [name for name in _NAMES if name in values and not isinstance(values[name], str)]
    if wrong or not isinstance(values.get("transport_options", {}), dict):
        raise ConfigurationError(
            f"{path}: {wrong[0] if wrong else 'transport_options'} has the wrong type: text, and a table of options"
        )
    _refuse_passwords({name: values[name] for name in _NAMES if name in values}, f"{path}, a file that is shared")
    options = dict(_options(path, values.get("transport_options", {})))
    for name in ("database_url", "transport_url"):
        check_options(path, values.get(name, ""), options)
    secret = [name for name in options if _is_secret(name)]
    if secret:
        raise ConfigurationError(
            f"{path} has the password {secret[0]}: set {OPTION_PREFIX}{secret[0]} in the environment instead"
        )
    return options


def _options(path: Path, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield options by their dotted names: in TOML `linger.ms = 5` is a table in a table."""
    tables = [("", table)]
    while tables:
        prefix, inner = tables.pop()
        for name, value in inner.items():
            if isinstance(value, dict):
                tables.append((f"{prefix}{name}.", value))
            elif isinstance(value, str | int | float):
                yield f"{prefix}{name}", _text(value)
            else:
                raise ConfigurationError(
                    f"{path}: the transport option {prefix}{name} has the wrong type: text, a number, true or false"
                )


def _refuse_passwords(values: Mapping[str, str], where: str) -> None:
    for name, value in values.items():
        if name.endswith("_url") and has_password(value):
            instead = f"set {PREFIX}{name.upper()} in the environment instead"
            other = ", or PGPASSWORD or ~/.pgpass" if name == "database_url" else ""
            raise ConfigurationError(f"{name} has a password in {where}: {instead}{other}")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
