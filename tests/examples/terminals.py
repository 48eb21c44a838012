"""Types the commands of a document into shells, as its reader does, and compares the output with the document's.

A fence `sh title="Terminal N"` is typed into that terminal, and a fence `text` behind it is the expected output. A
title that continues with `, a moment later` is typed again until the output is there. The first terminal runs the
embedded servers; the lines that these print go into the second one.
"""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import psutil  # type: ignore[import-untyped]

from tests.waiting import wait_until

FENCE = re.compile(
    r'^```sh title="Terminal (?P<number>\d)(?P<later>, a moment later)?"\n(?P<commands>.*?)^```\n'
    r"(?:\s*^```text\n(?P<output>.*?)^```)?",
    re.MULTILINE | re.DOTALL,
)
AGE = re.compile(r"\b\d+[smh]\b")  # of a dead letter
DEADLINE = 120.0  # seconds
END = "--- end of the commands ---"


class Typed(NamedTuple):
    """One fence."""

    terminal: int
    commands: str
    output: str | None
    repeated: bool


def typed(document: Path) -> list[Typed]:
    """Return the fences of a document."""
    return [
        Typed(int(one["number"]), one["commands"], one["output"], one["later"] is not None)
        for one in FENCE.finditer(document.read_text())
    ]


class Terminal:
    """A shell in a folder; a command that fails ends it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._errors = folder / f"terminal-{os.urandom(4).hex()}.log"
        with self._errors.open("wb") as errors:
            self._shell = subprocess.Popen(
                ["bash", "-e"],  # noqa: S607 the reader's own
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = psutil.Process(self._shell.pid).children(recursive=True) if self._shell.poll() is None else []
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGTERM)
        self._shell.communicate()
        wait_until(lambda: not psutil.wait_procs(running, timeout=0)[1], what=f"the end of {running}")

    def type(self, commands: str) -> None:
        """Type commands, and do not wait for them."""
        assert self._shell.stdin
        self._shell.stdin.write(f"{commands}\n")
        self._shell.stdin.flush()

    def run(self, commands: str) -> str:
        """Type commands, and return their output."""
        self.type(f"{commands}\necho {END}")
        return "".join(iter(self.line, f"{END}\n"))

    def line(self) -> str:
        """Return the next line of output."""
        assert self._shell.stdout
        line = self._shell.stdout.readline()
        assert line, f"the shell has ended:\n{self._errors.read_text()}"
        return line


def follow(document: Path, folder: Path, environment: Mapping[str, str]) -> None:
    """Type all commands of a document; each output must be the one that the document shows."""
    fences = typed(document)
    with Terminal(folder, environment) as servers:
        servers.type("".join(one.commands for one in fences if one.terminal == 1))
        exports = islice((line for line in iter(servers.line, "") if line.startswith("export ")), 2)
        with Terminal(folder, environment) as terminal:
            terminal.run("".join(exports))
            for one in fences:
                if one.terminal > 1:
                    _check(terminal, one)


def _check(terminal: Terminal, one: Typed) -> None:
    expected = None if one.output is None else _comparable(one.output)
    if one.repeated:
        wait_until(lambda: _comparable(terminal.run(one.commands)) == expected, timeout=DEADLINE, what=f"{one}")
        return
    output = terminal.run(one.commands)
    assert expected is None or _comparable(output) == expected, f"{one.commands}\n{output}"


def _comparable(output: str) -> str:
    return " ".join(AGE.sub("0s", output).split())
