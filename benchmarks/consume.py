"""How fast projectors follow a topic, beside a bare consume loop, in alternating rounds.

Every projection begins with an empty read model and no checkpoints, and ends with a check of the read model: a row that
is not exactly the fold of its events ends the benchmark.
"""

from functools import partial
from typing import Any

import click
from rich.progress import track

from benchmarks.consuming import Consuming
from benchmarks.given import Given, given, machine
from benchmarks.measure import Rounds, last_line, show
from benchmarks.orders import Orders
from benchmarks.plot import bars

BARE, TUNED, SUBSCRIPTION, TABLE, COLD, SHARED, PAIR, SQL = (
    "bare consume",
    "bare consume, tuned",
    "subscription",
    "table projection",
    "table projection, cold",
    "shared rows",
    "shared rows, 2 processes",
    "SQL projection",
)
OBSERVED = "table projection, observed"
NOTES = """\
bare consume: the client's consume() by 4,000 with its defaults, reading key, value and headers; commits nothing.
With a full queue the client then pauses its fetching for a second (fetch.queue.backoff.ms), so this is no upper limit:
bare consume, tuned: the same with our subscription's fetch settings, the real limit of the client
subscription: eventkit's subscription alone: messages made and acknowledged, offsets committed
table projection: receive, decode, fold into a row a stream, a checkpoint a stream, commit, acknowledge
cold: the same with a hundred times the streams, each of three events: nearly every event finds a cold row or makes one
shared rows: 1,000 rows, each fed by many streams; 2 processes share the group, and sharing it out is in the time
SQL projection: `on_batch`, one statement of the handler's for a run of events
observed: with an endpoint that is asked for metrics, readiness and liveness every five seconds, first before the clock
All look for garbage rarely, as the `eventkit` command does; the clock runs from the first message to the last commit.
CPU seconds and memory are the consumers' own, without the servers'. After each round every read model was exact."""


class ConsumeRun:
    """Rounds over one database and one broker."""

    def __init__(self, consuming: Consuming, *, events: int, streams: int) -> None:
        """Fill two topics, the second with a hundred times as many streams."""
        self.rounds = Rounds()
        self.hot = Orders.of("order", events, streams)
        self.cold = Orders.of("cold", events, min(100 * streams, max(events // 3, 1)))
        self._consuming = consuming
        for orders in (self.hot, self.cold):
            consuming.publish(orders)

    def round(self) -> None:
        """Let every contestant run once."""
        self.rounds.add(BARE, self._consuming.consumer("bare", self.hot))
        self.rounds.add(TUNED, self._consuming.consumer("tuned", self.hot))
        self.rounds.add(SUBSCRIPTION, self._consuming.consumer("subscription", self.hot))
        self.rounds.add(TABLE, self._consuming.project("table", self.hot))
        self.rounds.add(COLD, self._consuming.project("table", self.cold))
        self.rounds.add(SHARED, self._consuming.project("shared", self.hot))
        self.rounds.add(PAIR, self._consuming.project("shared", self.hot, processes=2))
        self.rounds.add(SQL, self._consuming.project("sql", self.hot))

    def observed_round(self, *, observed_first: bool) -> None:
        """Let the table projection run twice, once observed."""
        for observed in (observed_first, not observed_first):
            name = "table:observed" if observed else "table"
            self.rounds.add(OBSERVED if observed else TABLE, self._consuming.project(name, self.hot))

    def ratio(self, contestant: str) -> float:
        """Return the median ratio of a contestant to the bare loop of its round."""
        return self.rounds.ratio(contestant, BARE)

    def figures(self) -> dict[str, Any]:
        """Return the figures for `--json`."""
        return {
            "table_projection_events_per_second": self.rounds.rate(TABLE),
            "table_projection_ratio": self.ratio(TABLE),
            "table_projection_cold_ratio": self.ratio(COLD),
            "shared_rows_ratio": self.ratio(PAIR),
            "shared_rows_one_process_ratio": self.ratio(SHARED),
            "sql_projection_ratio": self.ratio(SQL),
            "subscription_ratio": self.ratio(SUBSCRIPTION),
            "raw_consume_events_per_second": self.rounds.rate(BARE),
            "tuned_consume_events_per_second": self.rounds.rate(TUNED),
            "table_projection_ratio_to_tuned": self.rounds.ratio(TABLE, TUNED),
        }


@click.command("consume")
@given()
@click.option("--events", type=click.IntRange(1), default=300_000, show_default=True)
@click.option("--streams", type=click.IntRange(1), default=1_000, show_default=True, help="A hundred times that: cold.")
@click.option("--observed", is_flag=True, help="Compare the table projection with itself, served and asked, in turns.")
def command(shared: Given, *, events: int, streams: int, observed: bool) -> None:
    """Follow a topic with projectors."""
    with shared.database() as (url, version), shared.broker() as kafka:
        consuming = Consuming(url, kafka)
        run = ConsumeRun(consuming, events=events, streams=streams)
        for number in track(range(shared.rounds), "rounds", console=shared.console):
            if observed:
                run.observed_round(observed_first=bool(number % 2))
            else:
                run.round()
        consuming.close()
        title = f"{run.hot.events:,} events from {kafka.version}, PostgreSQL {version}, {machine()}"
        ratio = partial(run.rounds.ratio, other=TABLE) if observed else run.ratio
        show(run.rounds.table(title, "of table" if observed else "of bare", ratio), shared.console, NOTES)
    if observed:
        last_line({"observed_ratio": run.rounds.ratio(OBSERVED, TABLE), "rounds": run.rounds.all_rates()})
        return
    if shared.plot:
        bars(shared.plot, title, {"": run.rounds.all_rates()}, pale={BARE, TUNED})
    if shared.as_json:
        last_line(run.figures())
