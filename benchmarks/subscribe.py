"""How long after its commit an event is in the loop of a live subscription, at a steady rate of transactions."""

import multiprocessing
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import click
import psycopg
from rich.table import Table

from benchmarks.given import Given, given, machine
from benchmarks.measure import last_line, show
from benchmarks.way import NOTE
from eventkit import Catalog, EventStore

WRITERS, LAST = 4, 0
NOTES = "from before the writer's commit() to the loop's body; transactions of one event of 200 bytes, 1,000 streams"
bench = Catalog("bench")


@bench.event
@dataclass(frozen=True)
class Noted:
    at: int  # nanoseconds of the machine's monotonic clock
    note: str


def write(pipe: Connection, url: str, writer: int, rate: float, seconds: float) -> None:
    """Append at a rate, however slow the answers; print a line at the end."""
    store = EventStore(bench)
    with psycopg.connect(url) as connection:
        begins, count = time.monotonic(), 0
        while (due := begins + count / rate) < begins + seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            stream = bench.stream("noted", f"{writer}.{count % 250}")
            store.append(connection, stream, Noted(time.monotonic_ns(), NOTE))
            connection.commit()
            count += 1
    pipe.send(count)


def measure(url: str, rate: int, seconds: float) -> list[float]:
    """Return the milliseconds of every event, sorted."""
    context = multiprocessing.get_context("spawn")
    laps: list[float] = []
    with EventStore(bench).subscribe(url, after=None) as subscription:
        pipes = []
        for writer in range(WRITERS):
            ours, theirs = context.Pipe()
            arguments = (theirs, url, writer, rate / WRITERS, seconds)
            context.Process(target=write, args=arguments, daemon=True).start()
            pipes.append(ours)
        threading.Thread(target=end, args=(url, pipes), daemon=True).start()
        for envelope in subscription:
            if envelope.event.at == LAST:
                return sorted(laps)
            laps.append((time.monotonic_ns() - envelope.event.at) / 1e6)
    raise AssertionError  # a subscription ends when it is closed


def end(url: str, pipes: Sequence[Connection]) -> None:
    """Append the last event once all writers are done."""
    for pipe in pipes:
        pipe.recv()
    with psycopg.connect(url) as connection:
        EventStore(bench).append(connection, bench.stream("noted", "last"), Noted(LAST, NOTE))


@click.command("subscribe")
@given(broker=False, rounds=3)
@click.option("--rate", type=click.IntRange(4), default=1_000, show_default=True, help="Transactions a second.")
@click.option("--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Of each round.")
def command(shared: Given, *, rate: int, seconds: float) -> None:
    """Follow an event from its commit to a live subscription."""
    with shared.database() as (url, version):
        rounds = [measure(url, rate, seconds) for _ in range(shared.rounds)]
    laps = sorted(lap for found in rounds for lap in found)
    p50, p99 = laps[len(laps) // 2], laps[int(len(laps) * 0.99)]
    table = Table("events", "p50 ms", "p99 ms", title=f"{rate:,} a second, PostgreSQL {version}, {machine()}")
    table.add_row(f"{len(laps):,}", f"{p50:.1f}", f"{p99:.1f}")
    show(table, shared.console, NOTES)
    if shared.as_json:
        last_line({"subscribe_p50_ms": p50, "subscribe_p99_ms": p99, "rate": rate, "events": len(laps)})
