"""Free TCP ports on 127.0.0.1, outside the range that the system could give away while a server restarts."""

import random
import socket

# The system uses higher ports for outgoing connections, so a restarted server could find such a port in use.
BELOW_EPHEMERAL = range(15_000, 32_000)
ATTEMPTS = 200


def free_port() -> int:
    """Return a port without a listener; another process may take it before you bind it, so be ready to retry."""
    for port in random.sample(BELOW_EPHEMERAL, ATTEMPTS):
        if _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        fallback: int = probe.getsockname()[1]
        return fallback


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
