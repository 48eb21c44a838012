"""`python -m benchmarks peers`: the speed of a backlog, the latency of an event, and the completeness of delivery."""

import click
from rich.progress import Progress

from benchmarks.given import Given, given, machine
from benchmarks.laps import Load
from benchmarks.measure import last_line, show
from benchmarks.peers.contestant import Contestant
from benchmarks.peers.debezium import Debezium, DebeziumHeaders, WarmDebezium
from benchmarks.peers.eventkit import Eventkit, StructuredEventkit
from benchmarks.peers.faststream_outbox import FastStreamOutbox
from benchmarks.peers.run import OURS, PeersRun
from benchmarks.peers.turn import Ground
from benchmarks.peers.txoutbox import TxOutbox
from benchmarks.peers.watermill import Watermill
from benchmarks.plot import bars

NOTES = """\
events/s: from the first event of the backlog to the last in the topic, by the broker's clock (LogAppendTime), after a
  warm-up of 1,000 events; the start of a process is not in it. The topic has six partitions, the producers are
  idempotent with acks=all. CPU seconds and memory are of the contestant's own process, without the servers'
milliseconds: from the writer's clock after commit() has returned to the consumer's receipt, in an open loop of four
  writers, after a lap that counts for nothing; each row is written as its library documents it, by the same writers
contended: eight writers to 40 streams; each transaction inserts a row of its own, raises the version of the stream's
  state, and inserts the event with that version; one in ten is rolled back
lost: never came. What a contestant had not sent when --limit stopped it is not lost; it has only one round
repeated: came again. out of order: came after a later one of its key. Every message of all three parts is looked at"""


def contestants() -> list[Contestant]:
    """Return all of them, ours first."""
    ours = [Eventkit(), StructuredEventkit()]
    return [*ours, Debezium(), DebeziumHeaders(), WarmDebezium(), Watermill(), TxOutbox(), FastStreamOutbox()]


def _chosen(_: click.Context, __: click.Parameter, text: str | None) -> list[Contestant]:
    known = {contestant.name: contestant for contestant in contestants()}
    names = text.split(",") if text else list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.BadParameter(f"there is no contestant {unknown[0]!r}: they are {', '.join(known)}")
    return [contestant for name, contestant in known.items() if name in names]


@click.command("peers")
@given(rounds=3)
@click.option("--only", metavar="NAMES", callback=_chosen, help="Some of them: eventkit,debezium,watermill,...")
@click.option("--events", type=click.IntRange(1_000), default=300_000, show_default=True, help="Of the backlog.")
@click.option("--rate", type=click.IntRange(1), default=1_000, show_default=True, help="Transactions a second.")
@click.option("--seconds", type=click.FloatRange(0.1), default=8.0, show_default=True, help="Of that load.")
@click.option("--limit", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Seconds for a backlog.")
def command(shared: Given, *, only: list[Contestant], events: int, rate: int, seconds: float, limit: float) -> None:
    """Carry the same events through eventkit and its peers."""
    with shared.server() as server, shared.broker() as kafka:
        run = PeersRun(
            Ground(server, kafka), only, events=events, load=Load(rate, seconds, min(seconds, 1.0)), limit=limit
        )
        with Progress(console=shared.console, transient=True) as progress:
            task = progress.add_task("", total=len(only) * shared.rounds)
            for saying in run.turns(shared.rounds):
                progress.update(task, description=saying, advance=1)
        where = f"{kafka.version}, PostgreSQL {server.version}, {machine()}"
    settings = [f"{contestant.title}: {contestant.settings}" for contestant in run.contestants]
    left_out = [f"left out: {title}: {reason}" for title, reason in run.left_out.items()]
    if not run.contestants:
        raise click.ClickException("; ".join(left_out))
    show(run.rates(f"{events:,} events, {where}"), shared.console)
    show(run.at_equal_headers("at equal headers"), shared.console)
    show(run.latencies(f"commit to consumer, {rate:,} a second, {where}"), shared.console)
    show(run.deliveries("what was delivered"), shared.console, NOTES, *settings, *left_out)
    if shared.plot:
        bars(shared.plot, where, run.panels(), pale={each.name for each in run.contestants} - {OURS}, unit="")
    if shared.as_json:
        last_line(run.figures())
