"""The time from the commit of an event to its consumer, in an open loop; and the cost of an idle relay.

The writers keep to a schedule, however late the answers: a slow relay cannot slow its own load down.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any
from uuid import uuid4

import click
import msgspec
import psycopg
from rich.progress import track

from benchmarks import running
from benchmarks.given import Given, given, machine
from benchmarks.laps import Laps, Load
from benchmarks.measure import Meter, last_line, show
from benchmarks.openloop import STREAMS, OpenLoop, Write
from benchmarks.plot import bars
from benchmarks.way import NOTE
from eventkit import Catalog, EventStore

RELAY = "relay"
NOTES = """\
from the writer's clock after commit() has returned to the consumer's receipt (poll, not consume); medians of the
  rounds (min-max); transactions of one event of 200 bytes, to 1,000 streams and a topic of six partitions
late: writes that began more than 10 ms behind their schedule, and by how much the latest; the highest of the rates is
  replaced by one that the writers hold
CPU seconds and memory are the relay's own, without the servers'; idle CPU in percent of one core"""
_PARTITIONS = 6
_CALM = 1.0  # seconds from the last event until a relay counts as idle


bench = Catalog("bench")


@bench.event
@dataclass(frozen=True)
class OrderPlaced:
    customer: str
    total: str
    note: str


class LatencyRun:
    """Rounds over one relay."""

    def __init__(self, loop: OpenLoop, pid: int, loads: list[Load]) -> None:
        """Find the highest rate that the writers hold."""
        self._loop = loop
        self._pid = pid
        self._seconds = loads[-1].seconds
        highest = msgspec.structs.replace(loads[-1], rate=loop.highest(loads[-1]))
        self.loads = [*(load for load in loads[:-1] if load.rate != highest.rate), highest]
        self.laps = Laps()
        self._idle: list[float] = []

    def round(self) -> None:
        """Put every load on it, then none."""
        for load in self.loads:
            meter = Meter(self._pid)
            lap = self._loop.lap(load)
            self.laps.add(RELAY, lap, meter.sample(load.events, load.seconds))
        time.sleep(_CALM)
        meter = Meter(self._pid)
        time.sleep(self._seconds)
        self._idle.append(100 * meter.sample(0, self._seconds).cpu_seconds / self._seconds)

    def figures(self) -> dict[str, Any]:
        """Return the figures for `--json`."""
        rates = [load.rate for load in self.loads]
        names = [*((rate, str(rate)) for rate in rates), (rates[-1], "highest")]
        found = [self.laps.figures(RELAY, rate, name) for rate, name in names]
        return {
            **{name: value for figures in found for name, value in figures.items()},
            "highest_rate": rates[-1],
            "idle_cpu_percent": median(self._idle),
            "lost": self.laps.sum(RELAY, lambda lap: lap.lost),
            "reordered": self.laps.sum(RELAY, lambda lap: lap.reordered),
        }


def eventkit(category: str, url: str, open_: ExitStack) -> Write:
    """Append on a psycopg connection: the `Opener` of a category."""
    connection, store = open_.enter_context(psycopg.connect(url)), EventStore(bench)

    def append(number: int) -> None:
        event = OrderPlaced(f"number-{number}-", "12.50", NOTE)
        store.append(connection, bench.stream(category, str(number % STREAMS)), event)
        connection.commit()

    return append


def _rates(_: click.Context, __: click.Parameter, text: str) -> list[int]:
    try:
        rates = sorted({int(word) for word in text.split(",")})
    except ValueError:
        rates = []
    if not rates or rates[0] < 1:
        raise click.BadParameter(f"{text!r} is no list of rates: it looks like 200,1000,5000")
    return rates


@click.command("latency")
@given(rounds=3)
@click.option("--rates", callback=_rates, default="200,1000,5000", show_default=True, help="Transactions a second.")
@click.option("--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Of each measurement.")
@click.option("--warm", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Seconds before each.")
@click.option("--writers", type=click.Choice(["1", "2", "4", "8"]), default="4", show_default=True)
def command(shared: Given, *, rates: list[int], seconds: float, warm: float, writers: str) -> None:
    """Follow an event from its commit to the consumer."""
    category = f"latency{uuid4().hex[:8]}"  # a run's own: a broker may have had another
    topic, opener = bench.topic(category), partial(eventkit, category)
    with shared.database() as (url, version), shared.broker() as kafka:
        kafka.create_topic(topic, _PARTITIONS)
        loop = OpenLoop(opener, url, kafka.bootstrap, topic, writers=int(writers))
        with running.relay(url, kafka.bootstrap) as relay, loop:
            run = LatencyRun(loop, relay.pid, [Load(rate, seconds, warm) for rate in rates])
            for _ in track(range(shared.rounds), "rounds", console=shared.console):
                run.round()
            running.check(relay)
        title = f"commit to consumer, {kafka.version}, PostgreSQL {version}, {machine()}"
        idle = f"idle: {run.figures()['idle_cpu_percent']:.2f} % of a core"
        show(run.laps.table(title), shared.console, idle, NOTES)
    if shared.plot:
        bars(shared.plot, title, run.laps.panels(), unit="ms")
    if shared.as_json:
        last_line(run.figures())
