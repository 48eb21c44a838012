"""Processes that append by a plan: in which way, how many of them, how many events to a transaction, how long.

They live through a whole run; each gets the time of its start and its end on the machine's clock.
"""

import multiprocessing
import random
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Self

import msgspec

from benchmarks.measure import Meter, Sample
from benchmarks.writers import WAYS

STREAMS = 1_000
_WARM = 20  # transactions before the clock starts
_HEAD_START = 0.05  # seconds until the start, which all writers must know by then


class Case(msgspec.Struct, frozen=True):
    """How many writers, and how many events to a transaction."""

    processes: int
    batch: int

    def __str__(self) -> str:
        """Say it."""
        return f"{self.processes} writers, {self.batch} to a transaction"


class Writers:
    """So many processes over one database."""

    def __init__(self, url: str, *, processes: int, seconds: float) -> None:
        self._url = url
        self._processes = processes
        self._seconds = seconds
        self._members: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []

    def __enter__(self) -> Self:
        """Start them."""
        context = multiprocessing.get_context("spawn")
        for _ in range(self._processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=write, args=(theirs, self._url), daemon=True)
            process.start()
            self._members.append((process, ours))
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        for process, pipe in self._members:
            pipe.send(None)
            process.join(10)

    def measure(self, way: str, case: Case) -> Sample:
        """Let as many as the case wants write for a while."""
        pipes = [pipe for _, pipe in self._members[: case.processes]]
        for pipe in pipes:
            pipe.send((way, case.batch))
        for pipe in pipes:
            pipe.recv()  # it is warm
        begin = time.monotonic() + _HEAD_START
        for pipe in pipes:
            pipe.send((begin, begin + self._seconds))
        samples: list[Sample] = [pipe.recv() for pipe in pipes]
        return Sample(
            sum(sample.events for sample in samples),
            self._seconds,
            sum(sample.cpu_seconds for sample in samples),
            max(sample.memory_mb for sample in samples),
        )


def write(pipe: Connection, url: str) -> None:
    """Be a writer: append as each order says, until there are none."""
    while told := pipe.recv():
        way, batch = told
        with ExitStack() as open_:
            append = WAYS[way](url, open_)
            for _ in range(_WARM):
                append(str(random.randrange(STREAMS)), batch)
            pipe.send("warm")
            begin, end = pipe.recv()
            time.sleep(max(0, begin - time.monotonic()))
            meter, events = Meter(), 0
            while time.monotonic() < end:
                append(str(random.randrange(STREAMS)), batch)
                events += batch
            pipe.send(meter.sample(events, end - begin))
