"""Redis's address: turns a URL and options into a client's arguments; no text shows the password.

`redis://user:password@host:6379/0`, `rediss://` for TLS. Options are redis-py's, as text (`ssl_ca_certs`,
`health_check_interval` …), and three of eventkit: `appendfsync=everysec` accepts a server that may lose its last
second; `retention=SECONDS` keeps acknowledged events for that time; after `session_timeout=SECONDS` another member
takes over the shards of a silent owner.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from eventkit.errors import ConfigurationError
from eventkit.transports.url import place_of, split_url

PORT = 6379
_RETENTION = 7 * 86_400.0  # seconds
_SESSION_TIMEOUT = 6.0  # seconds
_ANSWER_TIMEOUT = 10.0  # seconds: a server that is silent for longer counts as lost
# redis-py puts the command before the server's text, and the server repeats the arguments of an unknown command.
_ARGUMENTS = re.compile(r",? with args beginning with:.*", re.DOTALL)
_COMMAND = re.compile(r"^Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)
_PATH = re.compile(r"/?[0-9]*")


class RedisAddress:
    """The server, the client's arguments, and eventkit's own options."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        parts = split_url(url, "Redis", "redis://host:6379/0")
        port = parts.port or PORT
        if not parts.hostname or not _PATH.fullmatch(parts.path):
            raise ConfigurationError("a Redis URL names a host and at most a database number: redis://host:6379/0")
        given = {**dict(parse_qsl(parts.query)), **options}
        self.hosts = place_of(parts.hostname, port)
        self.fsync = given.pop("appendfsync", "always")
        if self.fsync not in {"always", "everysec"}:
            raise ConfigurationError(f"the transport option appendfsync is {self.fsync!r}: set always or everysec")
        self.retention = _seconds(given, "retention", _RETENTION)
        self.session = _seconds(given, "session_timeout", _SESSION_TIMEOUT)
        self._password = unquote(parts.password or "")
        self._arguments: dict[str, Any] = {
            "host": parts.hostname,
            "port": port,
            "db": int(parts.path.strip("/") or 0),
            "username": unquote(parts.username) if parts.username else None,
            "password": self._password or None,
            "ssl": parts.scheme == "rediss",
            # redis-py 5 does not check the name by default, and would send the login to any server that answers.
            "ssl_check_hostname": given.get("ssl_cert_reqs") != "none",
            "socket_timeout": _ANSWER_TIMEOUT,
            "socket_connect_timeout": 5.0,
            **{name: _value(text) for name, text in given.items()},
        }

    def __repr__(self) -> str:
        return f"Address({self.hosts})"

    def client(self) -> Redis:
        """Return a client that never retries by itself: the server may have executed an unanswered command."""
        try:
            return Redis(**self._arguments, single_connection_client=False, retry=Retry(NoBackoff(), 0))
        except TypeError as error:
            raise ConfigurationError(f"redis-py does not know a transport option: {error}") from error

    def safe(self, text: object) -> str:
        """Return a text without the password, and without the event that redis-py repeats beside the server's text."""
        short = _COMMAND.sub("", _ARGUMENTS.sub("", str(text)))
        return short.replace(self._password, "***") if self._password else short


def _seconds(given: dict[str, str], name: str, default: float) -> float:
    text = given.pop(name, None)
    try:
        seconds = default if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ConfigurationError(f"the transport option {name} is {text!r}: set a number of seconds above 0")
    return seconds


def _value(text: str) -> Any:  # noqa: ANN401 redis-py's arguments have many types
    lowered = text.lower()
    if lowered in {"true", "false"}:
        return lowered == "true"
    return int(text) if text.isdigit() else text
