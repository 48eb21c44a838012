"""Lets `eventkit relay run` drain a backlog, and measures it from the moment its lease is taken."""

import time
from collections.abc import Mapping
from contextlib import nullcontext

from benchmarks import running
from benchmarks.backlog import Backlog
from benchmarks.measure import Meter, Sample
from benchmarks.observed import free_address, watched

_DEADLINE = 600.0
_TICK = 0.003


def drained(
    database_url: str,
    bootstrap: str,
    backlog: Backlog,
    *,
    observed: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Sample:
    """Drain a filled backlog, with more settings of the environment, or while its endpoint is asked."""
    epoch = backlog.epoch()
    address = free_address() if observed else ""
    options = ("--serve", address) if observed else ()
    with (
        running.relay(database_url, bootstrap, *options, settings=settings) as process,
        watched(address) if observed else nullcontext(),
    ):
        while backlog.epoch() == epoch:
            running.check(process)
        meter, began = Meter(process.pid), time.perf_counter()
        _wait(backlog, backlog.last())
        return meter.sample(backlog.events, time.perf_counter() - began)


def _wait(backlog: Backlog, last: int) -> None:
    deadline = time.monotonic() + _DEADLINE
    while backlog.has(last) or backlog.size():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{backlog.size()} events are still in the outbox after {_DEADLINE:g} s")
        time.sleep(_TICK)
