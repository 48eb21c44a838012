"""The cost of a poll beside dead rows that an old snapshot keeps, next to a database without any, in turns.

The dead rows are events that the very reader has read and that were settled since the snapshot was taken.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

import psycopg

from benchmarks.backlog import Backlog
from benchmarks.scale.curve import Curve
from benchmarks.scale.stage import Stage
from benchmarks.writers import PSYCOPG, WAYS
from eventkit.storage.db.connection import connect
from eventkit.storage.outbox.gap_reader import GapReader
from eventkit.storage.outbox.outbox import READING, Outbox

_POLLS = 300  # of each kind, on each side, in each round
_IDLE, _EVENT = "nothing there", "an event there"


class Side:
    """A database, its relay's reader, and a writer."""

    def __init__(self, url: str, open_: ExitStack) -> None:
        """Start reading."""
        self.url = url
        self._append = WAYS[PSYCOPG](url, open_)
        self._settling = open_.enter_context(psycopg.connect(url, autocommit=True))
        reading = connect(url, name="relay reader", autocommit=True, options=READING)
        self._outbox = Outbox(open_.enter_context(reading), "eventkit")
        self.start()

    def start(self) -> float:
        """Start a reader; return how many milliseconds its first read took."""
        self._reader = GapReader(self._outbox)
        began = time.perf_counter()
        self._reader.start_pending()
        self._reader.read()
        return (time.perf_counter() - began) * 1_000

    def poll(self, kind: str) -> float:
        """Return the milliseconds of a read; an event that was committed before it is settled after it."""
        if kind == _EVENT:
            self._append("1", 1)
        began = time.perf_counter()
        rows = self._reader.read()
        took = (time.perf_counter() - began) * 1_000
        if rows:
            self._settling.execute("delete from eventkit.outbox where position = any(%s)", [[row[0] for row in rows]])
        return took

    def die(self, events: int) -> None:
        """Read and settle so many events."""
        backlog = Backlog(self.url, events=events, streams=1_000, size=200)
        backlog.fill()
        backlog.close()
        while rows := self._reader.read():
            self._settling.execute("delete from eventkit.outbox where position <= %s", [rows[-1][0]])


def dead_rows(stage: Stage, sizes: Sequence[int]) -> list[Curve]:
    """Poll at growing numbers of dead rows; the last curve is a reader's start, which looks at them once."""
    curves = [_curve("", _IDLE), _curve("", _EVENT), _curve("without_", _IDLE), _curve("without_", _EVENT)]
    start = Curve("dead_rows_start_ms", "a reader's start", across="dead rows", unit="ms")
    with ExitStack() as open_:
        busy, quiet = Side(stage.database(), open_), Side(stage.database(), open_)
        open_.enter_context(_old_snapshot(busy.url))
        there = 0
        for size in sorted(sizes):
            if size > there:
                stage.say(f"making {size - there:,} dead rows")
                busy.die(size - there)
                there = size
            for _ in range(stage.rounds):
                start.add(size, busy.start())
                for curve, value in zip(curves, _in_turns(busy, quiet), strict=True):
                    curve.add(size, value)
    return [*curves, start]


def _in_turns(busy: Side, quiet: Side) -> Iterator[float]:
    """Return the medians of the busy side, idle and with an event, then of the quiet one."""
    took: dict[tuple[Side, str], list[float]] = {(side, kind): [] for side in (busy, quiet) for kind in (_IDLE, _EVENT)}
    for _ in range(_POLLS):
        for (side, kind), found in took.items():
            found.append(side.poll(kind))
    return map(median, took.values())


def _curve(prefix: str, kind: str) -> Curve:
    name = f"{prefix}dead_rows_poll{'_event' if kind is _EVENT else ''}_ms"
    title = f"poll, {kind}{', no dead rows' if prefix else ''}"
    return Curve(name, title, across="dead rows", unit="ms")


@contextmanager
def _old_snapshot(url: str) -> Iterator[None]:
    with psycopg.connect(url) as old:
        old.execute("begin isolation level repeatable read")
        old.execute("select count(*) from eventkit.outbox")
        yield
