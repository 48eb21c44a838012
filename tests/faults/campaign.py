"""Everything from the writers to the effects, on a real broker, while relays, projectors and the broker are killed.

    writers + ledger -> outbox -> two relays -> broker -> two projector processes -> read model, effects

When the writers are done and their committed events have arrived, the ledger judges the rows of the read model and the
effects of the handler. Used by `python -m tests.faults brokers`, and in a short form by test_brokers.py.
"""

import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from eventkit.transports import open_transport
from tests.faults import ledger
from tests.faults.checker import Verdict, judge
from tests.faults.logs import LogCounts, count_lines
from tests.faults.shop import TOPIC
from tests.faults.storm import BROKER, WORKERS, Fault, Storm, by_chance
from tests.faults.watch import START, Tell, Watch
from tests.faults.workload import finish
from tests.process import ROOT, EventkitProcess
from tests.relay.process import RelayProcess

BROKERS = ("kafka", "rabbitmq", "redis", "activemq")
MODELS = ("tests.faults.read_models:seen", "tests.faults.read_models:acting")
RELAYS, PROJECTORS = ("relay0", "relay1"), ("projector0", "projector1")


@dataclass(frozen=True)
class Campaign:
    """The parts of a campaign."""

    seconds: float
    seed: int = 1
    pace: float = 0.15  # seconds at most between two transactions of a writer
    plans: Sequence[Iterable[Fault]] = ()  # by chance where none are given
    options: Mapping[str, str] | None = None  # of the transport, for the projectors


@dataclass(frozen=True)
class Outcome:
    """The result of a campaign."""

    seen: Verdict  # by the read model
    acted: Verdict  # by the handler
    left: int  # unsent, unseen or not acted upon when the time was over
    parked: int
    logs: LogCounts
    counts: dict[str, int]  # of faults, by process and kind
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether every promise was kept, each effect happening once."""
        once = self.seen.duplicates == self.acted.duplicates == 0
        return self.seen.clean and self.acted.clean and once and not (self.left or self.parked or self.logs.wrong)

    def described(self) -> str:
        """Return it for a terminal."""
        parts = [
            ("read model", _words(self.seen, duplicates="applied twice")),
            ("effects", _words(self.acted, duplicates="done twice")),
            ("left", f"{self.left} on the way, {self.parked} parked, {self.logs.repaired} taken from the store"),
            ("struck", ", ".join(f"{what} {count}" for what, count in sorted(self.counts.items()))),
            ("verdict", f"{'clean' if self.clean else 'NOT CLEAN'} after {self.seconds:.0f} s"),
        ]
        if self.logs.tracebacks:
            parts.insert(3, ("logs", f"{self.logs.tracebacks} tracebacks"))
        return "\n".join(f"  {name:<11} {text}" for name, text in parts)


def run(url: str, broker: Any, folder: Path, campaign: Campaign, tell: Tell = lambda _: None) -> Outcome:  # noqa: ANN401 each broker is a class of its own
    """Carry it out on a fresh database and a broker that is its own."""
    started = time.monotonic()
    ledger.create(url)
    transport = open_transport(broker.url)
    transport.create_topics([TOPIC], partitions=6)
    transport.close()
    workers = _workers(url, broker.url, folder, campaign.options)
    storm = Storm({**workers, "broker": broker}, campaign.plans or _by_chance(campaign.seed))
    try:
        _start(workers)
        with psycopg.connect(url, autocommit=True) as connection:
            watch = Watch(connection, storm, tell)
            _fight(url, campaign, storm, watch)
            left = watch.drain()
            seen, acted = _verdicts(connection)
            parked = (connection.execute("select count(*) from eventkit.dead_letters").fetchone() or (0,))[0]
    finally:
        for worker in workers.values():
            worker.kill()
    found = count_lines([worker.log() for worker in workers.values()])
    return Outcome(seen, acted, left, int(parked), found, dict(storm.counts), time.monotonic() - started)


def _workers(url: str, broker: str, folder: Path, options: Mapping[str, str] | None) -> dict[str, EventkitProcess]:
    relays = {name: RelayProcess(url, broker, folder / f"{name}.log") for name in RELAYS}
    words = ("projector", "run", *MODELS)
    projectors = {
        name: EventkitProcess(url, broker, folder / f"{name}.log", *words, options=options) for name in PROJECTORS
    }
    return {**relays, **projectors}


def _start(workers: Mapping[str, EventkitProcess]) -> None:
    """Start them, relays last: some brokers keep nothing for groups that have no place yet."""
    for name in PROJECTORS:
        workers[name].start()
    for name in PROJECTORS:
        for model in ("seen", "acting"):
            workers[name].says(f"projector {model} reads", timeout=START)
    for name in RELAYS:
        workers[name].start()


def _words(verdict: Verdict, *, duplicates: str) -> str:
    return (
        f"{verdict.written:,} committed: {verdict.lost} lost, {verdict.phantom} phantom, "
        f"{verdict.reordered} reordered, {verdict.duplicates} {duplicates}"
    )


def _by_chance(seed: int) -> list[Iterable[Fault]]:
    return [
        by_chance(RELAYS, WORKERS, f"{seed} relays"),
        by_chance(PROJECTORS, WORKERS, f"{seed} projectors"),
        by_chance(["broker"], BROKER, f"{seed} broker"),
    ]


def _fight(url: str, campaign: Campaign, storm: Storm, watch: Watch) -> None:
    words = [campaign.seconds, campaign.seed, campaign.pace]
    writers = subprocess.Popen([sys.executable, "-m", "tests.faults.ledger", url, *map(str, words)], cwd=ROOT)
    try:
        watch.begin()
        with storm:
            while writers.poll() is None:
                watch.look()
            if campaign.plans:
                storm.wait()
    finally:
        writers.kill()
        finish(url)
    assert writers.wait() == 0, "the writers failed, see their traceback above"


def _verdicts(connection: psycopg.Connection[Any]) -> tuple[Verdict, Verdict]:
    truth = ledger.committed(connection)
    return judge(ledger.seen(connection), truth), judge(ledger.effects(connection), truth)
