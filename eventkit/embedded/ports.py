"""Free TCP ports on 127.0.0.1 that stay ours while a server is down for a moment."""

import random
import socket

BELOW_EPHEMERAL = range(
    15_000, 32_000
)  # the system hands out higher ones to outgoing connections, so a restart could find its port taken
ATTEMPTS = 200


def free_port() -> int:
    """Return a port that nobody listens on; somebody else may take it before you do, so be ready to ask again."""
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
