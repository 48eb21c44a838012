"""The worker processes of a rebuild: each feeds one part of the streams, by hash, and reports the applied events.

Folding is Python code, so threads would not run in parallel. Each process starts as a command of its own: it imports
the user's module, and is not a fork.
"""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import msgspec

from eventkit.errors import RebuildRefused
from eventkit.projection.rebuild.from_store import OnApplied
from eventkit.projection.rebuild.worker import Report
from eventkit.projection.rebuild.worker_job import Job
from eventkit.worker import Stop

_STOP_CHECK_INTERVAL = 0.1  # seconds


def feed_in_processes(jobs: Sequence[Job], on_applied: OnApplied, stop: Stop) -> None:
    """Run the jobs in parallel; the first error ends all. Several threads call `on_applied`."""
    processes = [_start(job) for job in jobs]
    with ThreadPoolExecutor(len(processes)) as readers:
        reading = [readers.submit(_read, process, on_applied) for process in processes]
        try:
            while not stop.is_set() and not all(future.done() for future in reading):
                stop.wait(_STOP_CHECK_INTERVAL)
                for future in reading:
                    if future.done():
                        future.result()  # raises the error of this worker
        finally:  # the executor waits for its readers, and they read until their processes end
            for process in processes:
                process.kill()
                process.wait()
    if not stop.is_set():
        for future in reading:
            future.result()


def _start(job: Job) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "eventkit.projection.rebuild.worker"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 our own module
    _pipe(process.stdin).write(msgspec.json.encode(job) + b"\n")
    _pipe(process.stdin).flush()
    return process


def _read(process: "subprocess.Popen[bytes]", on_applied: OnApplied) -> None:
    for line in _pipe(process.stdout):
        report = msgspec.json.decode(line, type=Report)
        if report.error:
            raise RebuildRefused(report.error)
        on_applied(report.done)
    if code := process.wait():
        raise RebuildRefused(f"a worker of the rebuild ended with exit code {code}: start it again, with --resume")


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None, "opened with PIPE"  # noqa: S101
    return pipe
