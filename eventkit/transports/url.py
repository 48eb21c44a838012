"""Takes a broker's URL apart; an error never repeats any of it, for nobody can tell what of it is a password."""

import re
from urllib.parse import SplitResult, urlsplit

from eventkit.config import ENCODE, is_ambiguous
from eventkit.errors import ConfigurationError


def split_url(url: str, what: str, example: str, *, hosts: bool = False) -> SplitResult:
    """Return the parts of a URL of `what`, such as Redis; their port is a number, unless there may be several hosts."""
    try:
        parts = _with_hosts(url) if hosts else urlsplit(url)
        _ = hosts or parts.port
    except ValueError:
        raise _unreadable(what, example) from None
    if is_ambiguous(url) or ("," in parts.netloc.rpartition("@")[2] and not hosts):
        raise _unreadable(what, example)
    return parts


def _with_hosts(url: str) -> SplitResult:
    """Take a URL of several hosts apart: newer Pythons refuse one that mixes names and addresses in brackets."""
    scheme, _, rest = url.partition("://")
    hosts = re.split("[/?#]", rest, maxsplit=1)[0]
    if hosts.count("[") != hosts.count("]"):
        raise ValueError("a bracket is open")
    return urlsplit(f"{scheme}://hosts{rest[len(hosts) :]}")._replace(netloc=hosts)


def place_of(host: str, port: int) -> str:
    """Return a host and its port as text; an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _unreadable(what: str, example: str) -> ConfigurationError:
    return ConfigurationError(f"the {what} URL cannot be read: it looks like {example}; {ENCODE}")
