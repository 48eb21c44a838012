"""The demo from beginning to end: servers, processes, flights, kills, and the verdict."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from rich.console import Console

from eventkit.storage.db.connection import connect
from examples.flights import expected, report
from examples.flights.checker import Findings
from examples.flights.crew import WRITERS, Crew
from examples.flights.expected import Rows
from examples.flights.kills import Kill, Killer
from examples.flights.latency import Timed, percentile
from examples.flights.processes import PROJECTOR, RELAY, DemoFailed, Processes
from examples.flights.raw_data import Flight, read_flights, read_frame
from examples.flights.read_models import projections
from examples.flights.screen import Screen
from examples.flights.servers import EMBEDDED, Servers, servers
from examples.flights.service import record
from examples.flights.state import State

if TYPE_CHECKING:
    import pandas as pd

KILLS = ((0.25, "relay"), (0.45, "projector"), (0.65, "relay"))  # when so much is written
MARGIN = 0.19  # of the flights may be written while others take a victim's place
POLL_INTERVAL = 0.1  # seconds between two polls of all figures
START = 60.0  # seconds for the first flight to come through
STALL_TIMEOUT = 30.0  # seconds without any progress, after which missing events count as lost


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The options of a run."""

    whole_year: bool = False
    limit: int | None = None
    rate: int = 700
    partitions: int = 12
    kills: bool = True
    transport: str = EMBEDDED


def run(plan: Plan, console: Console, file: Path | None) -> list[str]:
    """Run the demo and show its figures; return a sentence for each that misses its target."""
    began = time.monotonic()
    frame = read_frame(whole_year=plan.whole_year, limit=plan.limit)
    target = report.Target(events=expected.events(frame), kills=len(KILLS) if plan.kills else 0)
    pace = f"at {plan.rate} flights/s in all" if plan.rate else "as fast as they can"
    console.print(f"{len(frame):,} flights, {target.events:,} events, {WRITERS} writers {pace}")
    with ExitStack() as stack:
        place = stack.enter_context(servers(partitions=plan.partitions, broker=plan.transport))
        console.print(f"{place.database}; {place.transport}", highlight=False)
        demo = Demo(plan, place, stack, Screen(console, target.events))
        demo.fly(read_flights(frame))
        figures, story, wrong = demo.judge(frame, began)
    console.print(report.table(figures, story))
    if file:
        figures.write(file)
    return target.failures(figures) + wrong


class Demo:
    """One run on its servers."""

    def __init__(self, plan: Plan, place: Servers, stack: ExitStack, screen: Screen) -> None:
        """Connect; everything opened here ends with the stack."""
        self._plan = plan
        self._place = place
        self._screen = stack.enter_context(screen)
        connection = stack.enter_context(
            connect(place.database_url, name="flights demo", schema=place.schema, autocommit=True)
        )
        self._state = State(connection, place.schema)
        self._processes = stack.enter_context(Processes(place))
        self._crew = stack.enter_context(Crew(place))
        self._kills: list[Kill] = []
        self._first: Flight
        self._seconds = 0.0

    def fly(self, flights: list[Flight]) -> None:
        """Record all flights, killing processes on the way, and wait until every event has arrived everywhere."""
        self._first = flights[0]
        self._crew.start(flights[1:], rate=self._plan.rate)
        self._processes.start("relay", RELAY)
        self._processes.start("projector", PROJECTOR)
        self._first_comes_through()
        self._screen.begin()
        began = time.monotonic()
        if self._plan.kills:
            self._kill_on_the_way(len(flights))
        self._crew.allow(1)
        self._wait(lambda: not self._crew.writing, float("inf"))
        self._until_all_arrived()
        self._seconds = time.monotonic() - began
        self._processes.stop()

    def judge(self, frame: "pd.DataFrame", began: float) -> tuple[report.Figures, report.Story, list[str]]:
        """Compare everything with everything."""
        findings, timed = self._crew.finish()
        differences = different(self._state.read_models(), expected.read_models(frame))
        torn = self._state.torn()
        wrong = [
            *differences,
            *([f"{torn} flights have their row without their events, or the reverse"] if torn else []),
        ]
        return self._figures(findings, timed, began, equal=not differences), self._story(timed), wrong

    def _figures(self, findings: Findings, timed: list[Timed], began: float, *, equal: bool) -> report.Figures:
        written = self._written()
        return report.Figures(
            written=written,
            published=findings.published,
            projected=self._state.projected(len(projections)),
            lost=findings.lost,
            phantom=findings.phantom,
            reordered=findings.reordered,
            duplicates_absorbed=findings.duplicates,
            kills=len(self._kills),
            read_models_equal=equal,
            commit_to_read_model_p50_ms=percentile(timed, 0.5),
            commit_to_read_model_p99_ms=percentile(timed, 0.99),
            events_per_second=round(written / self._seconds, 1),
            seconds=round(time.monotonic() - began, 1),
        )

    def _story(self, timed: list[Timed]) -> report.Story:
        calm = [sample for sample in timed if not any(kill.disturbed(sample) for kill in self._kills)]
        flights, _events, commits, rollbacks = self._crew.tally()
        return report.Story(
            flights=flights + 1,
            transactions=commits + 1,
            rolled_back=rollbacks,
            samples=len(timed),
            undisturbed_p50_ms=percentile(calm, 0.5),
            undisturbed_p99_ms=percentile(calm, 0.99),
        )

    def _first_comes_through(self) -> None:
        """Record one flight and wait for it: from then on relay and projector are up."""
        with psycopg.connect(self._place.psycopg_url) as connection:
            record(connection, self._first.id, self._first.facts)
        if not self._wait(lambda: self._state.applied() >= len(self._first.facts), START):
            raise DemoFailed(f"no read model had the first flight within {START:.0f} s\n{self._processes.logs()}")

    def _kill_on_the_way(self, flights: int) -> None:
        killer = Killer(self._processes, self._state, self._wait)
        for part, victim in KILLS:
            self._crew.allow(part + MARGIN)  # there must be something left to write when the victim dies
            self._wait(partial(self._begun, part * flights), float("inf"))
            kill = killer.kill(victim)
            self._kills.append(kill)
            gone = (kill.caught_up - kill.at) / 1e9
            self._screen.say(
                f"[yellow]killed the {victim}[/] with work under way; {gone:.1f} s later another had caught up"
            )

    def _until_all_arrived(self) -> None:
        """Wait for the last event; when nothing moves any more, missing events are lost."""
        while not self._arrived():
            before = self._progress()
            if not self._wait(partial(self._moved, before), STALL_TIMEOUT):
                return

    def _begun(self, flights: float) -> bool:
        return self._crew.tally()[0] >= flights or not self._crew.writing

    def _moved(self, before: tuple[int, int, int]) -> bool:
        return self._progress() != before or self._arrived()

    def _arrived(self) -> bool:
        events = self._written()
        on_topic = self._state.last_pending() is None and self._crew.distinct >= events
        return on_topic and self._state.projected(len(projections)) >= events

    def _written(self) -> int:
        return len(self._first.facts) + self._crew.tally()[1]

    def _progress(self) -> tuple[int, int, int]:
        return self._written(), self._crew.distinct, self._state.applied()

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition, moving the bars and seeing that everybody is alive; whether it came in time."""
        deadline = time.monotonic() + seconds
        while not (done := condition()) and time.monotonic() < deadline:
            self._screen.show(*self._progress())
            self._processes.check()
            self._crew.check()
            time.sleep(POLL_INTERVAL)
        return done


def different(found: Mapping[str, Rows], wanted: Mapping[str, Rows]) -> list[str]:
    """Return a sentence for each read model that differs, with its first wrong row."""
    wrong = []
    for name, rows in wanted.items():
        keys = [key for key in sorted(found[name].keys() | rows.keys()) if found[name].get(key) != rows.get(key)]
        if keys:
            first = f"{keys[0]} is {found[name].get(keys[0])}, pandas says {rows.get(keys[0])}"
            wrong.append(f"{name} differs from the raw data in {len(keys)} rows of {len(rows)}: {first}")
    return wrong
