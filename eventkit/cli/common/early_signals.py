"""Handle SIGTERM before anything else is imported, if this process is the first of a container (PID 1).

The kernel drops signals for PID 1 that have no handler, so `docker stop` would wait ten seconds for a command that is
still importing. Other processes need no handler: SIGTERM ends them.
"""

import os
import signal
from types import FrameType


def _end(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


if os.getpid() == 1 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
    signal.signal(signal.SIGTERM, _end)
