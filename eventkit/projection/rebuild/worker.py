"""`python -m eventkit.projection.rebuild.worker`: one worker process of a rebuild; started by `pool`, by nobody else.

A job comes on stdin, reports go out on what was stdout. When stdin ends, the process that wanted the work is gone, and
this one ends at once: what it has not committed is nobody's, and the rebuild's fence refuses it later writes.
"""

import os
import sys
import threading
from typing import BinaryIO

import msgspec

from eventkit.errors import EventkitError
from eventkit.projection.failure import translated
from eventkit.projection.rebuild.worker_job import Job, open_feeder
from eventkit.projection.run import load_projections, started_as_module
from eventkit.worker import Stop, collect_garbage_rarely


class Report(msgspec.Struct):
    """Events applied since the last report, or the error that ended the work."""

    done: int = 0
    error: str | None = None


def work(job: Job, out: BinaryIO) -> None:
    """Feed one part until a pass finds nothing, and report."""
    projection = next(item for item in load_projections([job.path]) if item.name == job.name)
    with open_feeder(projection, job, Stop()) as feeder:
        feeder.work(lambda done: _report(out, Report(done)), until=0)


def main() -> None:
    """Do the job on stdin."""
    started_as_module()
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a handler prints is no report
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    collect_garbage_rarely()
    try:
        work(job, out)
    except Exception as error:
        ours = translated(error)
        _report(out, Report(error=str(ours) if isinstance(ours, EventkitError) else f"{type(ours).__name__}: {ours}"))
        if not isinstance(ours, EventkitError):
            raise


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not by sys.stdin, which a thread at the interpreter's end must not hold
        pass
    os._exit(1)


def _report(out: BinaryIO, report: Report) -> None:
    out.write(msgspec.json.encode(report) + b"\n")


if __name__ == "__main__":
    main()
