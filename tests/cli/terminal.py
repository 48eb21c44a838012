"""A terminal of a given width for a command: a pseudo-terminal, which is asked for its size as a real one."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Self

from tests.projection.run.test_running import environment
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`eventkit WORDS` in a terminal; a context manager that ends it."""

    def __init__(self, url: str, *words: str, columns: int = 80, **settings: str) -> None:
        self._screen, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
        os.set_blocking(self._screen, False)
        self._text = b""
        inherited = {name: value for name, value in environment(url).items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "eventkit.cli", *words],
            env={**inherited, "TERM": "xterm-256color", **settings},
            cwd=ROOT,
            stdin=inner,
            stdout=inner,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._screen)

    def text(self) -> str:
        """Return everything that is on the terminal so far, with its escape sequences."""
        try:
            while chunk := os.read(self._screen, 65_536):
                self._text += chunk
        except OSError:  # nothing more for now, or closed
            pass
        return self._text.decode()

    def shows(self, words: str) -> None:
        """Wait until the terminal has the words."""
        wait_until(lambda: words in STYLES.sub("", self.text()), timeout=120, what=f"{words!r}")

    def ended(self) -> int:
        """Wait for the end of the process; return its exit code."""

        def has_ended() -> bool:
            self.text()
            return self.process.poll() is not None

        wait_until(has_ended, timeout=120, what="the end of the command")
        return self.process.wait()


def in_terminal(url: str, *words: str, columns: int = 80, **settings: str) -> str:
    """Run a command to its end in a terminal; return the screen, with its escape sequences."""
    with Terminal(url, *words, columns=columns, **settings) as terminal:
        terminal.ended()
        return terminal.text().replace("\r\n", "\n")
