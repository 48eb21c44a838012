"""`python -m benchmarks transports`: the options, the servers, and the report."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.table import Table

from benchmarks.given import Given, given, machine
from benchmarks.measure import Rounds, last_line, show
from benchmarks.plot import bars
from benchmarks.transports.asking import request_reply
from benchmarks.transports.contestant import Load
from benchmarks.transports.run import CLIENT, OURS, WHATS, TransportRun, figures, title
from tests import servers

BROKERS = {"kafka": 10, "rabbitmq": 1, "redis": 4, "activemq": 1}  # times --events: a lap takes a second or two
NOTES = """\
publish: a publisher of eventkit's transport, from the first message to the last confirmation, connected and warm
consume: a subscription of it, from the first message to the last acknowledgement; topics of six shards
client: the same messages in the same form by that broker's client alone, in its own fastest confirmed way:
  confluent-kafka idempotent with acks=all; pika with pipelined confirms to the same quorum queues; redis-py with
  pipelines of XADD, and of XREADGROUP with XACK; stomp.py with persistent messages in pipelined transactions
CPU seconds of the measured time and memory are the contestant's own, without the broker's"""
ASKING = "`request` to its return, one after the other: the broker twice, and the responder's transaction in between"


@click.command("transports")
@given(broker=False, rounds=3)
@click.option("--only", metavar="BROKER,...", help=f"Only these of {', '.join(BROKERS)}.")
@click.option(
    "--events", type=click.IntRange(1), default=30_000, show_default=True, help="Kafka gets 10, Redis 4 times that."
)
@click.option("--streams", type=click.IntRange(1), default=1_000, show_default=True)
@click.option("--size", type=click.IntRange(1), default=200, show_default=True, help="Bytes of an event's data.")
@click.option("--requests", type=click.IntRange(1), default=300, show_default=True, help="Asked one after the other.")
@click.option("--transport-url", "urls", multiple=True, help="Use this broker; may be given for each.")
def command(shared: Given, *, only: str | None, urls: Sequence[str], requests: int, **load: int) -> None:
    """Publish to and consume from each broker, beside its client alone; and ask through it."""
    events, size = load["events"], load["size"]
    rounds, found, asked = Rounds(), dict[str, float](), dict[str, list[float]]()
    for broker in _chosen(only):
        with _server(broker, urls, shared.console) as url:
            if url is None:
                continue
            each = Load(events * BROKERS[broker], load["streams"], size)
            for next_lap in TransportRun(broker, url, each, rounds).laps(shared.rounds):
                shared.console.print(next_lap, style="dim")
            with shared.database() as (database, _):
                asked[broker] = request_reply(database, url, requests)
            found |= figures(broker, rounds) | {f"{broker}_request_reply_p50_ms": median(asked[broker])}
    if not found:
        raise click.ClickException("none of these brokers is here")
    more = ", ".join(f"{times} times as many through {broker}" for broker, times in BROKERS.items() if times > 1)
    heading = f"{events:,} events of {size} bytes ({more}), {machine()}"
    show(rounds.table(heading, "of client", lambda name: _ratio(rounds, name)), shared.console, NOTES)
    show(_answers(asked), shared.console, ASKING)
    if shared.plot:
        _draw(shared, heading, rounds)
    if shared.as_json:
        last_line(found)


def _chosen(only: str | None) -> list[str]:
    names = only.split(",") if only else list(BROKERS)
    unknown = sorted(set(names) - set(BROKERS))
    if unknown:
        raise click.UsageError(f"--only {unknown[0]}: the brokers are {', '.join(BROKERS)}")
    return names


@contextmanager
def _server(broker: str, urls: Sequence[str], console: Console) -> Iterator[str | None]:
    """Lend the broker that is given, or one of its own; None where it is not on this machine."""
    for url in urls:
        if urlsplit(url).scheme == broker:
            yield url
            return
    try:
        server = servers.start(broker)
    except servers.ServerMissing as missing:
        console.print(f"{broker} is left out: {missing}", highlight=False)
        yield None
        return
    try:
        yield server.url
    finally:
        server.stop()


def _answers(asked: Mapping[str, Sequence[float]]) -> Table:
    table = Table(title="request and reply", title_justify="left")
    for name in ("", "median ms", "min", "max"):
        table.add_column(name, justify="right" if name else "left")
    for broker, took in asked.items():
        table.add_row(broker, *(f"{value:.1f}" for value in (median(took), min(took), max(took))))
    return table


def _ratio(rounds: Rounds, name: str) -> float:
    return rounds.ratio(name, name if name.endswith(f", {CLIENT}") else f"{name}, {CLIENT}")


def _draw(shared: Given, heading: str, rounds: Rounds) -> None:
    rates = rounds.all_rates()
    panels = {
        broker: {
            name: rates[name] for what in WHATS for who in (OURS, CLIENT) if (name := title(broker, what, who)) in rates
        }
        for broker in BROKERS
    }
    pale = {name for name in rates if name.endswith(f", {CLIENT}")}
    if shared.plot:
        bars(shared.plot, heading, {broker: panel for broker, panel in panels.items() if panel}, pale=pale)
