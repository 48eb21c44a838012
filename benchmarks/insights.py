"""The time of each answer of `eventkit.insights` beside a large store: p50 and p99, on a warm connection.

The database has streams, events and dead letters as many as asked for, and a hundredth of the events unsent. The
answers are asked in turns, each time for another event, stream, letter or time, drawn at random with a fixed seed.
Then each screen of the page is loaded, each time from a page that has just begun.
"""

import hashlib
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import Any

import click
import psycopg
from rich.table import Table

from benchmarks.given import Given, given
from benchmarks.insights_page import first_loads
from benchmarks.insights_store import CATEGORIES, PROJECTIONS, RARE, Sizes, fill
from benchmarks.measure import last_line, show
from eventkit.insights import Insights

_BOUND = 100  # ms
_LOAD_BOUND = 200  # ms
_LOADS = 5  # of each screen

Ask = Callable[[], object]


class Questions:
    """The questions, each about other rows every time."""

    def __init__(self, connection: psycopg.Connection[Any], sizes: Sizes) -> None:
        """Draw by a fixed seed."""
        self._insights = Insights(connection)
        self._sizes = sizes
        self._chance = random.Random(5)
        letters = connection.execute("select min(id), max(id) from eventkit.dead_letters").fetchone() or (0, 0)
        self._letters: tuple[int, int] = letters

    def all(self) -> dict[str, Ask]:
        """Return each answer's name with the question."""
        ask = self._insights
        return {
            "attention": ask.attention,
            "relay": ask.relay,
            "projections": ask.projections,
            "projection": lambda: ask.projection(f"projection_{self._chance.randint(1, PROJECTIONS)}"),
            "dead_letter_groups": ask.dead_letter_groups,
            "dead_letters": ask.dead_letters,
            "dead_letters_of_group": lambda: ask.dead_letters(
                parked_by="projection_3", cause="failed", category=self._category()
            ),
            "dead_letters_of_cause": lambda: ask.dead_letters(cause=self._chance.choice(("gap", "refused"))),
            "dead_letters_of_stream": lambda: ask.dead_letters(stream=self._stream()),
            "dead_letter": lambda: ask.dead_letter(self._chance.randint(*self._letters), payload=True),
            "timers": ask.timers,
            "timers_page": ask.timers_page,
            "timers_of_category": lambda: ask.timers_page(category=self._category()),
            "processes": ask.processes,
            "sizes": ask.sizes,
            "events": ask.events,
            "events_of_stream": lambda: ask.events(stream=self._stream(), payload=True),
            "events_of_type": lambda: ask.events(type=f"Kind{self._chance.randrange(20)}"),
            "events_of_rare_type": lambda: ask.events(type=RARE),
            "events_of_no_type": lambda: ask.events(type="Unknown"),
            "events_of_category": lambda: ask.events(category=self._category()),
            "events_of_correlation": lambda: ask.events(correlation_id=f"story-{self._event() // 10}"),
            "events_of_time": self._of_time,
            "event": lambda: ask.event(self._id(), payload=True),
            "stream": lambda: ask.stream(self._stream()),
            "causation_tree": lambda: ask.causation_tree(self._id()),
            "settings": ask.settings,
            "actions": ask.actions,
        }

    def _of_time(self) -> object:
        at = datetime.now(UTC) - timedelta(seconds=self._event() / 50)
        return self._insights.events(since=at, until=at + timedelta(minutes=10), type="Kind3")

    def _event(self) -> int:
        return self._chance.randrange(self._sizes.events)

    def _id(self) -> str:
        return hashlib.md5(str(self._event()).encode(), usedforsecurity=False).hexdigest()

    def _stream(self) -> str:
        number = self._chance.randrange(self._sizes.streams)
        return f"{CATEGORIES[number % len(CATEGORIES)]}-{number}"

    def _category(self) -> str:
        return self._chance.choice(CATEGORIES)


def measure(questions: dict[str, Ask], rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each answer, after one that warms up."""
    took: dict[str, list[float]] = {name: [] for name in questions}
    for number in range(rounds + 1):
        for name, ask in questions.items():
            began = time.perf_counter()
            ask()
            if number:
                took[name].append((time.perf_counter() - began) * 1_000)
    return took


def percentile(values: list[float], share: int) -> float:
    """Return a percentile."""
    return max(values) if len(values) < 2 else quantiles(values, n=100, method="inclusive")[share - 1]  # noqa: PLR2004


@click.command("insights")
@given(broker=False, rounds=100)
@click.option("--streams", type=click.IntRange(10), default=1_000_000, show_default=True)
@click.option("--events", type=click.IntRange(10), default=10_000_000, show_default=True)
@click.option("--letters", type=click.IntRange(10), default=1_000_000, show_default=True)
def command(shared: Given, *, streams: int, events: int, letters: int) -> None:
    """Ask every question about a large store, load every screen, and print how long each answer takes."""
    sizes = Sizes(streams, events, letters)
    with shared.database() as (url, version):
        shared.console.print(f"filling {events:,} events of {streams:,} streams, {letters:,} dead letters")
        began = time.monotonic()
        fill(url, sizes)
        shared.console.print(f"filled in {time.monotonic() - began:.0f} s")
        with psycopg.connect(url, autocommit=True) as connection:
            took = measure(Questions(connection, sizes).all(), shared.rounds)
        loads = first_loads(url, _LOADS)
    figures: dict[str, float] = {}
    for name, values in took.items():
        figures |= {f"{name}_p50_ms": percentile(values, 50), f"{name}_p99_ms": percentile(values, 99)}
    figures["worst_p99_ms"] = max(figures[f"{name}_p99_ms"] for name in took)
    figures |= {f"page_{name}_first_ms": median(values) for name, values in loads.items()}
    figures["page_worst_first_ms"] = max(median(values) for values in loads.values())
    show(_table(took, version), shared.console)
    show(_loads_table(loads), shared.console)
    if shared.as_json:
        last_line(figures)


def _table(took: dict[str, list[float]], version: str) -> Table:
    table = Table(title=f"PostgreSQL {version}, ms an answer; {_BOUND} is the bound of p99", title_justify="left")
    for heading in ("", "p50", "p99"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, values in sorted(took.items(), key=lambda item: -percentile(item[1], 99)):
        table.add_row(name, f"{percentile(values, 50):.1f}", f"{percentile(values, 99):.1f}")
    return table


def _loads_table(loads: dict[str, list[float]]) -> Table:
    title = f"The page, ms until a screen's first load; {_LOAD_BOUND} is the bound of the median"
    table = Table(title=title, title_justify="left")
    for heading in ("", "median", "longest"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, values in sorted(loads.items(), key=lambda item: -median(item[1])):
        table.add_row(name, f"{median(values):.0f}", f"{max(values):.0f}")
    return table
