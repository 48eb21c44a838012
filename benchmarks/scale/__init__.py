"""Costs that grow and costs that stay flat: backlogs, dead rows, stored events, streams, relays, projectors.

Each part is a curve over growing sizes with its slope (see `benchmarks.scale.curve`). Sizes are options, so that a part
fits into a few minutes; the parts that want ten million events share one database.
"""

from collections.abc import Callable
from typing import Any

import click
import msgspec

from benchmarks import plot
from benchmarks.given import Given, given, machine
from benchmarks.measure import last_line, show
from benchmarks.scale.curve import Curve, table
from benchmarks.scale.dead_rows import dead_rows
from benchmarks.scale.draining import backlogs, relays, streams
from benchmarks.scale.projectors import projectors
from benchmarks.scale.stage import Stage
from benchmarks.scale.stored import stored

NOTES = """\
slope: of the straight line through the medians on log-log axes, 0 is flat; size 0 counts as a tenth of the next
steady: `eventkit relay run`; up to 50,000 more events wait in front, and the clock runs from when those are in the
  topic to the last event: no start is in it. Events of 200 bytes, 1,000 streams, six partitions
backlogs above a million are drained once, in the middle of the rounds; peak memory is that of the relay's process
poll: a read of the relay's reader; the dead rows are events that it read and that were settled since a snapshot was
  taken that is still open. A poll with an event takes one that was committed just before. A start is a reader's first
  read, which looks at them once
appends: one event a transaction on psycopg from four processes
relays and projectors share the streams and these cores: the rate is that of all of them together"""

_OTHER = 100_000  # the backlog that the largest is compared with


def sizes(_: click.Context, __: click.Parameter, text: str) -> list[int]:
    """Read numbers with commas between them; refuse other text."""
    words = text.split(",")
    if not all(word.strip().isdigit() for word in words):
        raise click.BadParameter(f"{text!r} is no list of sizes, as 10000,100000")
    return sorted({int(word) for word in words})


class Wanted(msgspec.Struct, frozen=True):
    """The sizes of all parts."""

    backlogs: list[int]
    dead_rows: list[int]
    stored: list[int]
    streams: list[int]
    relays: list[int]
    projectors: list[int]
    events: int
    seconds: float


Part = Callable[[Stage, Wanted], list[Curve]]
PARTS: dict[str, Part] = {
    "backlog": lambda stage, wanted: backlogs(stage, wanted.backlogs),
    "stored": lambda stage, wanted: stored(stage, wanted.stored, seconds=wanted.seconds),
    "dead-rows": lambda stage, wanted: dead_rows(stage, wanted.dead_rows),
    "streams": lambda stage, wanted: streams(stage, wanted.streams, events=wanted.events),
    "relays": lambda stage, wanted: relays(stage, wanted.relays, events=wanted.events),
    "projectors": lambda stage, wanted: projectors(stage, wanted.projectors, events=wanted.events),
}


def figures(curves: dict[str, Curve]) -> dict[str, Any]:
    """Return the figures for `--json`: the curves, and the figures that have a limit."""
    found: dict[str, Any] = {}
    if rate := curves.get("backlog_events_per_second"):
        memory, most = curves["backlog_memory_mb"], rate.sizes[-1]
        found["memory_mb_at_10m"] = memory.at(most)
        found["rate_ratio_10m_to_100k"] = rate.ratio(most, _OTHER if _OTHER in rate.sizes else rate.sizes[0])
    if poll := curves.get("dead_rows_poll_ms"):
        without = curves["without_dead_rows_poll_ms"]
        found["poll_ratio_dead_rows"] = poll.at(poll.sizes[-1]) / without.at(poll.sizes[-1])
    if appends := curves.get("stored_appends_per_second"):
        found["append_ratio_10m_to_0"] = appends.ratio(appends.sizes[-1], appends.sizes[0])
    for curve in curves.values():
        found |= curve.figures()
    return found


def picture(curve: Curve) -> plot.Curve:
    """Return a curve as it is drawn."""
    return plot.Curve(curve.title, curve.across, curve.unit, {curve.name: curve.medians()})


@click.command("scale")
@given(rounds=3)
@click.option("--only", type=click.Choice(list(PARTS)), multiple=True, help="A part; may be given again.")
@click.option("--backlogs", callback=sizes, default="10000,100000,1000000,10000000", show_default=True)
@click.option("--dead-rows", callback=sizes, default="0,500000,1000000,2000000", show_default=True)
@click.option("--stored", callback=sizes, default="0,1000000,10000000", show_default=True)
@click.option("--streams", callback=sizes, default="1,10,1000,100000", show_default=True)
@click.option("--relays", callback=sizes, default="1,2,4", show_default=True)
@click.option("--projectors", callback=sizes, default="1,2,4", show_default=True)
@click.option("--events", type=click.IntRange(1), default=300_000, show_default=True, help="Of the last three parts.")
@click.option("--seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Of appends, each time.")
def command(shared: Given, *, only: tuple[str, ...], **words: Any) -> None:  # noqa: ANN401 click's own
    """Let everything in the database grow, and print the costs that stay flat."""
    wanted, curves = Wanted(**words), dict[str, Curve]()
    with Stage(shared) as stage:
        for name, part in PARTS.items():
            if only and name not in only:
                continue
            found = part(stage, wanted)
            show(table(found), shared.console)
            curves |= {curve.name: curve for curve in found}
        shared.console.print(NOTES, style="dim", highlight=False)
        title = f"PostgreSQL {stage.version}, Kafka, {machine()}"
    if shared.plot:
        plot.curves(shared.plot, title, [picture(curve) for curve in curves.values()])
    if shared.as_json:
        last_line(figures(curves))
