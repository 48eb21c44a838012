"""Runs programs and watches how much memory their processes take."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import click

from benchmarks.rebuild import Watch

CLI = "eventkit.cli"


@contextmanager
def watched(
    url: str, words: Sequence[str], peaks: list[float], *, more: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module with arguments, on a database; add the MB that its processes have taken. `more` is environment."""
    environment = {**os.environ, "EVENTKIT_DATABASE_URL": url, **(more or {})}
    process = subprocess.Popen(
        [sys.executable, "-m", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    watch = Watch(process.pid)
    try:
        yield process
    finally:
        process.communicate()
        code = process.returncode
        peaks.append(watch.stop()[1])
    if code:
        raise click.ClickException(f"{' '.join(words)} ended with {code}")


def peak(url: str, *words: str, more: Mapping[str, str] | None = None) -> float:
    """Run a program to its end; return the MB that its processes have taken."""
    peaks: list[float] = []
    with watched(url, words, peaks, more=more):
        pass
    return peaks[0]


def await_done(done: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until it is done; raise where the process has ended before."""
    while not done():
        if process.poll() is not None:
            raise click.ClickException(f"{process.args!r} ended with {process.returncode}")
        time.sleep(0.2)
