"""`eventkit relay run` as operators run it: a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def relay(
    database_url: str, bootstrap: str, *options: str, settings: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Let a relay run; it comes to a clean end where nothing was raised."""
    environment = {
        **os.environ,
        "EVENTKIT_DATABASE_URL": database_url,
        "EVENTKIT_TRANSPORT_URL": f"kafka://{bootstrap}",
        **(settings or {}),
    }
    process = subprocess.Popen([sys.executable, "-m", "eventkit.cli", "relay", "run", *options], env=environment)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        if process.wait(10):
            raise RuntimeError(f"the relay ended with exit code {process.returncode}: see its log above")
    finally:
        process.kill()
        process.wait()


def check(process: subprocess.Popen[bytes]) -> None:
    """Raise when a relay has ended by itself."""
    if process.poll() is not None:
        raise RuntimeError(f"the relay ended with exit code {process.returncode} before it began: see its log above")
