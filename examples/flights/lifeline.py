"""The first lines of each of the demo's own processes: leave Ctrl-C to the main process, and end when it ends."""

import os
import signal
from multiprocessing import parent_process
from threading import Thread


def hold() -> None:
    """Tie this process's life to the main process's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    main = parent_process()
    if main is not None:
        main.join()
        os._exit(1)
