"""How many events a second can be appended, beside the same rows written by hand and a peer, in alternating rounds.

The writers are processes that live through the whole run; each is told a way, a batch and when to begin and to end.
"""

import multiprocessing
import random
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any, Self

import click
import msgspec
from rich.progress import track
from rich.table import Table

from benchmarks.given import Given, given, machine
from benchmarks.measure import Meter, Rounds, Sample, last_line, show
from benchmarks.peer_writer import create_tables
from benchmarks.plot import bars
from benchmarks.writers import BARE_PSYCOPG, BARE_SESSION, PEER, PSYCOPG, SESSION, WAYS

NOTES = """\
one transaction: encode, write the rows in streams, events and outbox in one statement, commit; to one of 1,000
  streams at random, events of 200 bytes
by hand: no checks, one statement without expectations
eventsourcing 9.5.6, default mode, Application.events.put: no aggregate is loaded, streams are the writer's own and it
  counts their versions; one table, locked as a whole, and a NOTIFY a transaction. Its ratio is to eventkit on psycopg
CPU seconds of all writers together, peak MB of the largest"""
_STREAMS = 1_000
_WARM = 20  # transactions before the clock starts
_HEAD_START = 0.05  # seconds until all writers have heard when to begin
_COMPARED = {PSYCOPG: BARE_PSYCOPG, SESSION: BARE_SESSION, PEER: PSYCOPG}


class Case(msgspec.Struct, frozen=True):
    """How many writers, and how many events to a transaction."""

    processes: int
    batch: int

    def __str__(self) -> str:
        """Say it."""
        return f"{self.processes} writers, {self.batch} to a transaction"


class AppendRun:
    """Rounds over one database."""

    def __init__(self, url: str, *, processes: int, seconds: float) -> None:
        """Choose the cases up to a number of processes."""
        counts = [count for count in (1, 4) if count < processes]
        self.cases = [Case(count, 1) for count in (*counts, processes)] + [Case(1, 10), Case(1, 500)]
        self._most = Case(processes, 1)
        self._order = list(WAYS)
        self._seconds = seconds
        self._url = url
        self._rounds = {case: Rounds() for case in self.cases}
        self._writers: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []

    def __enter__(self) -> Self:
        """Start the writers."""
        create_tables(self._url)
        context = multiprocessing.get_context("spawn")
        for _ in range(self._most.processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=write, args=(theirs, self._url), daemon=True)
            process.start()
            self._writers.append((process, ours))
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        for process, pipe in self._writers:
            pipe.send(None)
            process.join(10)

    def round(self) -> None:
        """Let every way run once in every case."""
        self._order.reverse()
        for case in self.cases:
            for way in self._order:
                self._rounds[case].add(way, self._measure(way, case))

    def figures(self) -> dict[str, Any]:
        """Return what `--json` prints: the ratios with the most processes, one event a transaction."""
        rounds = self._rounds[self._most]
        return {
            "append_ratio_to_psycopg": rounds.ratio(PSYCOPG, BARE_PSYCOPG),
            "append_ratio_to_session": rounds.ratio(SESSION, BARE_SESSION),
            "append_ratio_to_eventsourcing": rounds.ratio(PSYCOPG, PEER),
            "append_psycopg_events_per_second": rounds.rate(PSYCOPG),
            "append_session_events_per_second": rounds.rate(SESSION),
            "append_eventsourcing_events_per_second": rounds.rate(PEER),
            "processes": self._most.processes,
        }

    def rates(self) -> dict[str, dict[str, list[float]]]:
        """Return the rates of every way in every case."""
        return {str(case): rounds.all_rates() for case, rounds in self._rounds.items()}

    def table(self, case: Case, where: str) -> Table:
        """Return the figures of a case."""
        rounds = self._rounds[case]
        return rounds.table(f"{case}, {where}", "ratio", lambda way: rounds.ratio(way, _COMPARED.get(way, way)))

    def _measure(self, way: str, case: Case) -> Sample:
        pipes = [pipe for _, pipe in self._writers[: case.processes]]
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
    """Be a writer: append as told until told no more."""
    while told := pipe.recv():
        way, batch = told
        with ExitStack() as open_:
            append = WAYS[way](url, open_)
            for _ in range(_WARM):
                append(str(random.randrange(_STREAMS)), batch)
            pipe.send("warm")
            begin, end = pipe.recv()
            time.sleep(max(0, begin - time.monotonic()))
            meter, events = Meter(), 0
            while time.monotonic() < end:
                append(str(random.randrange(_STREAMS)), batch)
                events += batch
            pipe.send(meter.sample(events, end - begin))


@click.command("append")
@given(broker=False)
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Of each measurement.")
@click.option("--processes", type=click.IntRange(1), default=8, show_default=True, help="The most writers at once.")
def command(shared: Given, *, seconds: float, processes: int) -> None:
    """Append events in transactions."""
    with shared.database() as (url, version):
        run = AppendRun(url, processes=processes, seconds=seconds)
        with run:
            for _ in track(range(shared.rounds), "rounds", console=shared.console):
                run.round()
        for case in run.cases:
            show(run.table(case, f"PostgreSQL {version}, {machine()}"), shared.console)
        shared.console.print(NOTES, style="dim", highlight=False)
    if shared.plot:
        bars(
            shared.plot,
            f"appends, PostgreSQL {version}, {machine()}",
            run.rates(),
            pale={BARE_PSYCOPG, BARE_SESSION, PEER},
        )
    if shared.as_json:
        last_line(run.figures())
