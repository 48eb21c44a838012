"""Kafka's address: turns a URL and options into the client's properties; no text shows the password.

`kafka://host:9092,host2:9092` or `kafka://user:password@host:9093?security.protocol=SASL_SSL`. With a user, TLS and
PLAIN are the default. Options have librdkafka's names, with `_` instead of `.` if an environment cannot hold a dot.
Options cannot change the settings that order and durability depend on. Two options are eventkit's own:
`largest_event`, the bytes of the largest event that the topics must accept, and `replicas`, the number of brokers that
must have an event before it is confirmed (2).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from eventkit.config import ENCODE
from eventkit.domain.catalog import DEFAULT_MAX_BYTES
from eventkit.errors import ConfigurationError
from eventkit.transports.url import split_url

DEFAULT_PORT = 9092
_RESERVED = frozenset(
    {
        "acks",
        "allow.auto.create.topics",
        "auto.offset.reset",
        "bootstrap.servers",
        "delivery.report.only.error",
        "delivery.timeout.ms",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.gapless.guarantee",
        "enable.idempotence",
        "group.id",
        "isolation.level",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.timeout.ms",
        "metadata.broker.list",
        "partition.assignment.strategy",
        "partitioner",
        "request.required.acks",
        "transactional.id",
    }
)
_SECRET = ("password", "secret", "passphrase", "key.pem")
_PLACE = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]+):[1-9][0-9]{0,4}")
_LARGEST, _REPLICAS = "largest_event", "replicas"
_UNDERSCORED = frozenset({"log_level", _LARGEST})
_DEFAULT_REPLICAS = 2  # brokers that have an event when it is confirmed


class Address:
    """The brokers and the properties of every client."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        parts = split_url(url, "Kafka", "kafka://host:9092,host2:9092", hosts=True)
        credentials, _, hosts = parts.netloc.rpartition("@")
        self.hosts = ",".join(_with_port(host) for host in hosts.split(",") if host)
        if not self.hosts or parts.path.strip("/"):
            raise ConfigurationError("a Kafka URL names brokers and no path: kafka://host:9092,host2:9092")
        if not all(map(_PLACE.fullmatch, self.hosts.split(","))):  # the message leaves it out: it may be a password
            raise ConfigurationError(
                "a host in the Kafka URL is invalid, or has no number as its port: write kafka://host:9092, or "
                f"kafka://[::1]:9092 for an IPv6 address; {ENCODE}"
            )
        self._properties = {**_credentials(credentials), **_checked(dict(parse_qsl(parts.query))), **_checked(options)}
        self.largest_event = _number(self._properties, _LARGEST, DEFAULT_MAX_BYTES)
        self.replicas = _number(self._properties, _REPLICAS, _DEFAULT_REPLICAS)

    def __repr__(self) -> str:
        return f"Address({self.hosts})"

    def properties(self, error_cb: Callable[[Any], None], **settings: str | float) -> dict[str, Any]:
        """Return a client's properties: these settings, with `_` in names as `.`, overridden by the user's options."""
        named: dict[str, Any] = {name.replace("_", "."): value for name, value in settings.items()}
        given = {name: value for name, value in self._properties.items() if name not in _RESERVED}
        base = {"bootstrap.servers": self.hosts, "client.id": "eventkit", "log_level": 0, "error_cb": error_cb}
        return {**base, **named, **given}

    def safe(self, text: str) -> str:
        """Return a text without the passwords and keys of this address."""
        for name, value in self._properties.items():
            if value and any(word in name for word in _SECRET):
                text = text.replace(value, "***")
        return text


def _with_port(host: str) -> str:
    return host if host.rpartition("]")[2].count(":") else f"{host}:{DEFAULT_PORT}"


def _credentials(text: str) -> dict[str, str]:
    if not text:
        return {}
    user, _, password = text.partition(":")
    login = {"sasl.username": unquote(user), "sasl.password": unquote(password)}
    return {"security.protocol": "SASL_SSL", "sasl.mechanisms": "PLAIN", **login}


def _checked(options: Mapping[str, str]) -> dict[str, str]:
    named = {_name(name): value for name, value in options.items()}
    refused = sorted(_RESERVED & set(named))
    if refused:
        raise ConfigurationError(
            f"the transport option {refused[0]} is not yours to set: order and durability depend on eventkit's value"
        )
    return named


def _number(given: dict[str, str], name: str, default: int) -> int:
    text = given.pop(name, str(default))
    if not text.isdigit() or not int(text):
        raise ConfigurationError(f"the transport option {name} is {text!r}: set a whole number above 0")
    return int(text)


def _name(name: str) -> str:
    lowered = name.lower()
    return lowered if lowered in _UNDERSCORED else lowered.replace("_", ".")
