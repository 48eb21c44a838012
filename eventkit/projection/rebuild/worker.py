"""`python -m eventkit.projection.rebuild.worker`: one worker process of a rebuild, started by `worker_pool` alone.

It reads a job from stdin and writes reports to the original stdout. When stdin ends, the parent process is gone, and
this process exits at once. Its open transaction rolls back, and the rebuild's fence refuses later writes.
"""

import os
import sys
import threading
from typing import BinaryIO

import msgspec

from eventkit.errors import EventkitError
from eventkit.projection.failure import translated
from eventkit.projection.rebuild.worker_job import Job, open_feeder
from eventkit.projection.run import load_projections
from eventkit.worker import Stop, collect_garbage_rarely
from eventkit.working_directory import search_it_last


class Report(msgspec.Struct):
    """Events applied since the last report, or the error that ended the work."""

    done: int = 0
    error: str | None = None


def work(job: Job, out: BinaryIO) -> None:
    """Feed one part until a pass finds no events, and report the progress."""
    projection = next(item for item in load_projections([job.path]) if item.name == job.name)
    with open_feeder(projection, job, Stop()) as feeder:
        feeder.work(lambda done: _report(out, Report(done)), until=0)


def main() -> None:
    """Read the job from stdin, and work on it."""
    search_it_last()
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # a handler's output goes to stderr, not among the reports
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    collect_garbage_rarely()
    try:
        work(job, out)
    except Exception as error:
        known = translated(error)
        _report(
            out, Report(error=str(known) if isinstance(known, EventkitError) else f"{type(known).__name__}: {known}")
        )
        if not isinstance(known, EventkitError):
            raise


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin: a thread must not hold its lock at the interpreter's end
        pass
    os._exit(1)


def _report(out: BinaryIO, report: Report) -> None:
    out.write(msgspec.json.encode(report) + b"\n")


if __name__ == "__main__":
    main()
