"""RabbitMQ's address: turns a URL and options into pika's parameters; no text shows the password.

Options are pika's URL parameters (`heartbeat`, `blocked_connection_timeout` …); for TLS `ca_certs`, `certfile` and
`keyfile`; and `prefetch`, the number of messages of a shard that a member may hold unacknowledged.
"""

import ssl
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote, urlencode

import pika

from eventkit.errors import ConfigurationError
from eventkit.transports.url import place_of, split_url

_PORTS = {"rabbitmq": 5672, "rabbitmqs": 5671}
_HEARTBEAT = "10"  # seconds: the broker drops a stopped member after twice that
_PREFETCH = 1_000
_TLS = ("ca_certs", "certfile", "keyfile")


class RabbitAddress:
    """The server and a client's parameters."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        parts = split_url(url, "RabbitMQ", _EXAMPLE)
        port = parts.port or _PORTS[parts.scheme]
        vhost = unquote(parts.path.removeprefix("/"))
        if not parts.hostname or "/" in parts.path.removeprefix("/"):
            raise ConfigurationError(f"a RabbitMQ URL names a host and at most a virtual host: {_EXAMPLE}")
        given = {"heartbeat": _HEARTBEAT, **dict(parse_qsl(parts.query)), **options}
        self.hosts = place_of(parts.hostname, port)
        self._host = parts.hostname
        self.prefetch = _count(given)
        self._password = unquote(parts.password or "")
        tls = {name: given.pop(name) for name in _TLS if name in given}
        credentials = f"{parts.username}:{parts.password or ''}@" if parts.username else ""
        scheme = "amqps" if parts.scheme == "rabbitmqs" else "amqp"
        self._url = f"{scheme}://{credentials}{self.hosts}/{quote(vhost or '/', safe='')}?{urlencode(given)}"
        self._tls = tls
        self.parameters()  # reports invalid options now

    def __repr__(self) -> str:
        return f"Address({self.hosts})"

    def parameters(self) -> pika.URLParameters:
        """Return pika's connection parameters; ConfigurationError when pika refuses an option."""
        try:
            parameters = pika.URLParameters(self._url)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"RabbitMQ's client refuses a transport option: {self.safe(error)}") from error
        if self._tls:
            context = ssl.create_default_context(cafile=self._tls.get("ca_certs"))
            if "certfile" in self._tls:
                context.load_cert_chain(self._tls["certfile"], self._tls.get("keyfile"))
            parameters.ssl_options = pika.SSLOptions(context, self._host)
        return parameters

    def safe(self, text: object) -> str:
        """Return a text without the password of this address."""
        return str(text).replace(self._password, "***") if self._password else str(text)


def _count(given: dict[str, str]) -> int:
    text = given.pop("prefetch", str(_PREFETCH))
    if not text.isdigit() or not 0 < int(text) <= 65_535:  # noqa: PLR2004 AMQP's largest short
        raise ConfigurationError(f"the transport option prefetch is {text!r}: set a number from 1 to 65,535")
    return int(text)


_EXAMPLE = "rabbitmq://user:password@host:5672/vhost"
