"""How fast a read model is rebuilt from the store, swap included, beside eventsourcing's projection runner.

Each rebuild is the command, run as an operator runs it; after each the read model is compared with the fold.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import click
import psutil  # type: ignore[import-untyped]
import psycopg
from rich.progress import track
from sqlalchemy.schema import CreateTable

from benchmarks.given import Given, given, machine
from benchmarks.loading import load_p50_ms
from benchmarks.measure import Rounds, Sample, last_line, show
from benchmarks.orders import READ_MODELS, metadata

TABLE, SHARED, SQL, PEER = "table projection", "rows fed by many streams", "SQL projection", "eventsourcing"
NOTES = """\
table projection: a row and a checkpoint a stream, read, folded, written, indexed and swapped in by the command
rows fed by many streams: 1,000 rows, each fed by many streams
SQL projection: `on_batch`, one statement of the handler's for a run of events
eventsourcing: its ProjectionRunner catching up from its own store, a transaction an event; fewer events, the same rate
The seconds are the command's own, from its first statement to its last; memory is the sum of its processes' peaks."""
_PATHS = {"table": "order_totals", "shared": "customer_totals", "sql": "takings_by_customer"}
_FILL = """
insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
select gen_random_uuid(), 'bench', 'order-' || n % %(streams)s, n / %(streams)s + 1, 'ItemOrdered', 1,
       jsonb_build_object('order', 'order-' || n % %(streams)s, 'customer', 'customer-' || n % 997, 'amount', n % 977,
         'note', 'two of them in blue, wrapped as a present, to be left with the neighbours if nobody is at home'), '{}'
  from generate_series(0, %(events)s - 1) n"""
_STREAMS = "insert into eventkit.streams select 'order-' || n, %(each)s from generate_series(0, %(streams)s - 1) n"
# The peer keeps its events and its view under names of its own.
_FORGET = "drop table if exists peer_totals, shop_events, totals_tracking, notification_tracking"
_FOLD = """select data ->> '{key}', count(*), sum((data ->> 'amount')::int) from eventkit.events group by 1
except select * from {table}"""


class RebuildRun:
    """Rounds over one database whose store is filled once."""

    def __init__(self, url: str, *, events: int, streams: int, workers: int, peer_events: int) -> None:
        """Fill the store."""
        self.rounds = Rounds()
        self.url = url
        self._events = events // streams * streams
        self._workers = workers
        self._peer_events = peer_events
        with psycopg.connect(url, autocommit=True) as connection:
            for table in metadata.tables.values():
                connection.execute(str(CreateTable(table)).encode())
            numbers = {"events": self._events, "streams": streams, "each": self._events // streams}
            for statement in (_FILL, _STREAMS):
                text = statement
                for name, value in numbers.items():
                    text = text.replace(f"%({name})s", str(value))
                connection.execute(text.encode())
            connection.execute("vacuum analyze")

    def round(self) -> None:
        """Let every contestant run once."""
        self.rounds.add(TABLE, self._rebuilt("table", "order"))
        self.rounds.add(SHARED, self._rebuilt("shared", "customer"))
        self.rounds.add(SQL, self._rebuilt("sql", "customer"))
        self.rounds.add(PEER, self._peer())

    def ratio(self, contestant: str) -> float:
        """Return the median ratio of a contestant to the peer of its round."""
        return self.rounds.ratio(contestant, PEER)

    def figures(self) -> dict[str, Any]:
        """Return the figures for `--json`."""
        return {
            "rebuild_events_per_second": self.rounds.rate(TABLE),
            "sql_projection_events_per_second": self.rounds.rate(SQL),
            "eventsourcing_events_per_second": self.rounds.rate(PEER),
            "peak_memory_mb": self.rounds.peak(TABLE),
            "load_100_events_p50_ms": load_p50_ms(self.url),
        }

    def _rebuilt(self, name: str, key: str) -> Sample:
        self._execute("checkpoint")
        path = f"benchmarks.orders:{_PATHS[name]}"
        words = ["-m", "eventkit.cli", "projection", "rebuild", path, "--workers", str(self._workers), "--json"]
        environment = {**os.environ, "EVENTKIT_DATABASE_URL": self.url}
        process = subprocess.Popen([sys.executable, *words], env=environment, stdout=subprocess.PIPE)
        memory = Watch(process.pid)
        output, _ = process.communicate()
        used = memory.stop()
        if process.returncode:
            raise RuntimeError(f"the rebuild of {name} ended with exit code {process.returncode}: see above")
        (outcome,) = json.loads(output)
        wrong = self._execute(_FOLD.format(key=key, table=READ_MODELS[name]))
        if wrong or outcome["events"] != self._events:
            raise RuntimeError(f"{len(wrong)} rows of {name} are wrong after {outcome['events']} events")
        return Sample(outcome["events"], outcome["seconds"], *used)

    def _peer(self) -> Sample:
        self._execute(_FORGET)
        words = ["-m", "benchmarks.peer_projection", self.url, str(self._peer_events)]
        done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
        rate = float(done.stdout.split()[-1])
        return Sample(self._peer_events, self._peer_events / rate, 0.0, 0.0)

    def _execute(self, *statements: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


class Watch:
    """Watches a process and its children: the sum of each one's peak."""

    def __init__(self, pid: int) -> None:
        self._cpu: dict[int, float] = {}
        self._root = psutil.Process(pid)
        self._peaks: dict[int, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[float, float]:
        """Return processor seconds and MB, of all together."""
        self._over.set()
        self._thread.join()
        return sum(self._cpu.values()), sum(self._peaks.values()) / 1_048_576

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            try:
                for process in (self._root, *self._root.children(recursive=True)):
                    self._peaks[process.pid] = max(peak_of(process.pid), self._peaks.get(process.pid, 0))
                    self._cpu[process.pid] = sum(process.cpu_times()[:2])
            except (psutil.Error, OSError):
                continue


def peak_of(pid: int) -> int:
    """Return the most bytes that a process has had."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].partition("kB")[0] or 0) * 1024


@click.command()
@given(broker=False, rounds=3)
@click.option("--events", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--streams", type=click.IntRange(1), default=20_000, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--peer-events", type=click.IntRange(1), default=3_000, show_default=True)
def command(given: Given, *, events: int, streams: int, workers: int, peer_events: int) -> None:
    """Rebuild read models from the store, and load an aggregate."""
    with given.database() as (url, version):
        run = RebuildRun(url, events=events, streams=streams, workers=workers, peer_events=peer_events)
        for _ in track(range(given.rounds), "rounds", console=given.console):
            run.round()
        figures = run.figures()
    title = f"{events:,} events of {streams:,} streams, {workers} workers, PostgreSQL {version}, {machine()}"
    show(run.rounds.table(title, "of peer", run.ratio), given.console, NOTES)
    given.console.print(f"an aggregate of 100 events is loaded in {figures['load_100_events_p50_ms']:.2f} ms (median)")
    if given.as_json:
        last_line(figures)
