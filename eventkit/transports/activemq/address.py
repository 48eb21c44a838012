"""ActiveMQ's address and credentials; no text shows the password.

Options: for TLS `ca_certs`, `certfile`, `keyfile`; `prefetch`, the number of messages of a shard that a member may hold
unacknowledged; `heartbeat`, in seconds.
"""

import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from eventkit.errors import ConfigurationError
from eventkit.transports.url import place_of, split_url

_CONNECT_TIMEOUT = 5.0  # seconds
_PORTS = {"activemq": 61613, "activemqs": 61614}
_TLS = {"ca_certs": "ca_certs", "certfile": "cert_file", "keyfile": "key_file"}
_EXAMPLE = "activemq://user:password@host:61613"


class ActiveAddress:
    """The broker and the credentials."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        parts = split_url(url, "ActiveMQ", _EXAMPLE)
        port = parts.port or _PORTS[parts.scheme]
        if not parts.hostname or parts.path.strip("/"):
            raise ConfigurationError(f"an ActiveMQ URL names a host and no path: {_EXAMPLE}")
        given = {**dict(parse_qsl(parts.query)), **options}
        self.place = (parts.hostname, port)
        self.hosts = place_of(parts.hostname, port)
        self.user = unquote(parts.username) if parts.username else None
        self.password = unquote(parts.password) if parts.password else None
        self.prefetch = _number(given, "prefetch", 1_000)
        self.heartbeat = _number(given, "heartbeat", 5)
        self.tls: dict[str, Any] | None = None
        if parts.scheme == "activemqs":
            self.tls = {_TLS[name]: given.pop(name) for name in _TLS if name in given}
        if given:
            known = ", ".join(["prefetch", "heartbeat", *_TLS])
            raise ConfigurationError(f"unknown transport option {min(given)}: ActiveMQ's are {known}")

    def __repr__(self) -> str:
        return f"Address({self.hosts})"

    def obstacle(self) -> str | None:
        """Return the error of a plain or TLS connection to the broker, None on success: the client hides it."""
        try:
            with socket.create_connection(self.place, _CONNECT_TIMEOUT) as plain:
                if self.tls is not None:
                    context = ssl.create_default_context(cafile=self.tls.get("ca_certs"))
                    context.wrap_socket(plain, server_hostname=self.place[0]).close()
        except OSError as error:
            return str(error)
        return None

    def safe(self, text: object) -> str:
        """Return a text without the password of this address."""
        return str(text).replace(self.password, "***") if self.password else str(text)


def _number(given: dict[str, str], name: str, default: int) -> int:
    text = given.pop(name, str(default))
    if not text.isdigit() or not int(text):
        raise ConfigurationError(f"the transport option {name} is {text!r}: set a whole number from 1")
    return int(text)
