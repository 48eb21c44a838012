"""The address of `--serve`: `HOST:PORT`, `[::1]:PORT`, or a port alone, which is on the loopback interface."""

import errno
import re
import socket

from eventkit.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
_ADDRESS = re.compile(r"(?:(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:\[\]/@]+)|):)?(?P<port>[0-9]{1,5})")
_MAX_PORT = 65_535

_REASONS = {
    errno.EADDRINUSE: "another process listens there already: choose another port",
    errno.EACCES: "this user may not listen there: choose a port from 1024 on",
    errno.EADDRNOTAVAIL: "this machine has no such address: use 127.0.0.1, 0.0.0.0, or an address of the machine",
}


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port; raise ConfigurationError for a text that is no address."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or int(found["port"]) > _MAX_PORT:
        raise ConfigurationError(
            f"{text!r} is no address to serve: it looks like 127.0.0.1:8080, [::1]:8080, or 8080 for the loopback "
            f"interface alone; the port is 0 (any free one) to {_MAX_PORT}"
        )
    return found["six"] or found["host"] or LOOPBACK, int(found["port"])


def resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    """Return the socket family and address of a host; raise ConfigurationError for an unknown name."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no name"
        raise ConfigurationError(f"--serve {shown(host, port)}: the host cannot be found ({reason})") from error
    return family, address


def refused(host: str, port: int, error: OSError) -> ConfigurationError:
    """Return the error for an address on which this process cannot listen."""
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return ConfigurationError(f"--serve {shown(host, port)}: {reason}")


def shown(host: str, port: int) -> str:
    """Return an address as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
