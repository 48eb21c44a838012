"""Hears SIGTERM before anything else is imported, where this process is a container's first.

The kernel gives such a process no signal that it has no handler for, so `docker stop` would wait its ten seconds for a
command that is still importing. Other processes end by themselves.
"""

import os
import signal
from types import FrameType


def _end(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


if os.getpid() == 1 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
    signal.signal(signal.SIGTERM, _end)
