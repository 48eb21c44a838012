"""Parses a broker's URL; errors never repeat the URL, because any part of it may be a password."""

import re
from urllib.parse import SplitResult, urlsplit

from eventkit.config import ENCODE, is_ambiguous
from eventkit.errors import ConfigurationError


def split_url(url: str, broker: str, example: str, *, hosts: bool = False) -> SplitResult:
    """Return the parts of a broker's URL; ConfigurationError if it cannot be parsed or its port is no number.

    `hosts`: the URL may name several hosts; then the ports are not checked. Errors name `broker` and the `example`.
    """
    try:
        parts = _with_hosts(url) if hosts else urlsplit(url)
        _ = hosts or parts.port
    except ValueError:
        raise _unreadable(broker, example) from None
    if is_ambiguous(url) or ("," in parts.netloc.rpartition("@")[2] and not hosts):
        raise _unreadable(broker, example)
    return parts


def _with_hosts(url: str) -> SplitResult:
    """Parse a URL of several hosts: newer Pythons refuse a mixture of names and addresses in brackets."""
    scheme, _, rest = url.partition("://")
    hosts = re.split("[/?#]", rest, maxsplit=1)[0]
    if hosts.count("[") != hosts.count("]"):
        raise ValueError("a bracket is open")
    return urlsplit(f"{scheme}://hosts{rest[len(hosts) :]}")._replace(netloc=hosts)


def place_of(host: str, port: int) -> str:
    """Return a host and its port as text, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _unreadable(broker: str, example: str) -> ConfigurationError:
    return ConfigurationError(f"the {broker} URL cannot be read: it looks like {example}; {ENCODE}")
