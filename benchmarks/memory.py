"""How much memory a projector and a rebuild take at their peak, however large the events are that wait for them.

Events of some 900 KB, half of which compress well and half of which hardly do, lie in the store; then the same of
200 bytes. Each run is the command, as an operator runs it; a rebuild's memory is the sum of its processes' peaks.
"""

import os
import subprocess
import sys

import click
import psycopg
from sqlalchemy.schema import CreateTable

from benchmarks.given import Given, given
from benchmarks.measure import last_line
from benchmarks.orders import metadata
from benchmarks.rebuild import Watch

BOUND = 250  # MB
_FILL = """
insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
select gen_random_uuid(), 'bench', 'order-' || n %% %(streams)s, n / %(streams)s + 1, 'ItemOrdered', 1,
       jsonb_build_object('order', 'order-' || n %% %(streams)s, 'customer', 'c-' || n %% 97, 'amount', 1, 'note',
         case when n %% 2 = 0 then repeat('x', %(bytes)s)
              else (select string_agg(md5((n + i)::text), '') from generate_series(1, %(bytes)s / 32) i) end), '{}'
  from generate_series(0, %(events)s - 1) n"""
_STREAMS = """insert into eventkit.streams (stream, version)
              select 'order-' || n, %(each)s from generate_series(0, %(streams)s - 1) n"""
_PATH = "benchmarks.orders:order_totals"


def fill(url: str, *, events: int, size: int) -> None:
    """Fill a store with events of so many bytes, ten of each stream."""
    params = {"events": events, "streams": max(1, events // 10), "bytes": size, "each": 10}
    with psycopg.connect(url) as connection:
        connection.execute(CreateTable(metadata.tables["order_totals"]).compile().string.encode())
        connection.execute(_STREAMS, params)
        connection.execute(_FILL, params)


def peak(url: str, *words: str) -> float:
    """Run a command to its end; return the MB that its processes have taken."""
    environment = {**os.environ, "EVENTKIT_DATABASE_URL": url}
    command = [sys.executable, "-m", "eventkit.cli", *words]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watch = Watch(process.pid)
    code = process.wait()
    _, megabytes = watch.stop()
    if code:
        raise click.ClickException(f"eventkit {' '.join(words)} ended with {code}")
    return megabytes


@click.command()
@given(broker=False, rounds=1)
@click.option("--large", type=click.IntRange(10), default=1_500, show_default=True, help="Events of 900 KB.")
@click.option("--small", type=click.IntRange(10), default=200_000, show_default=True, help="Events of 200 bytes.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Of the rebuild.")
def command(given: Given, *, large: int, small: int, workers: int) -> None:
    """Measure the peak of a projector's and of a rebuild's memory, in MB."""
    figures: dict[str, float] = {}
    for name, events, size in (("large", large, 880_000), ("small", small, 60)):
        with given.database() as (url, _):
            fill(url, events=events, size=size)
            run = ("projector", "run", _PATH, "--from", "store", "--until-idle", "1")
            figures[f"projector_{name}_mb"] = peak(url, *run)
            figures[f"rebuild_{name}_mb"] = peak(url, "projection", "rebuild", _PATH, "--workers", str(workers))
    for name, megabytes in figures.items():
        click.echo(f"{name:22} {megabytes:6.0f}", err=True)
    last_line(figures)
