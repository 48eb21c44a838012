"""How many events a second can be appended, beside the same rows written by hand and a peer, in alternating rounds."""

from typing import Any

import click
from rich.progress import track
from rich.table import Table

from benchmarks.decisions import decision_read_ms
from benchmarks.given import Given, given, machine
from benchmarks.measure import Rounds, last_line, show
from benchmarks.peer_writer import create_tables
from benchmarks.plot import bars
from benchmarks.writers import (
    BARE_PSYCOPG,
    BARE_SESSION,
    INLINE,
    INLINE_SHARED,
    PEER,
    PSYCOPG,
    SESSION,
    TAGGED,
    WAYS,
    create_read_model,
)
from benchmarks.writing import Case, Writers

NOTES = """\
one transaction: encode, write the rows in streams, events and outbox in one statement, commit; to one of 1,000
  streams at random, events of 200 bytes
by hand: the same rows, tables and commit, one statement without expectations; no checks, constants in the statement
  where eventkit has parameters, no look at the publisher's mode and at synchronous_commit
eventsourcing 9.5.6, default mode, Application.events.put: no aggregate is loaded, streams are the writer's own and it
  counts their versions; one table, locked as a whole, and a NOTIFY a transaction. Its ratio is to eventkit on psycopg
two tags: of 5,000 each, locked and written with the event; its ratio is to eventkit on psycopg
inline: a table projection in the append's transaction, a row a stream, or one row for all writers; its ratio is to
  eventkit on psycopg
CPU seconds of all writers together, peak MB of the largest"""
_COMPARED = {
    PSYCOPG: BARE_PSYCOPG,
    SESSION: BARE_SESSION,
    **dict.fromkeys((PEER, INLINE, INLINE_SHARED, TAGGED), PSYCOPG),
}


class AppendRun:
    """Rounds over one database."""

    def __init__(self, writers: Writers, processes: int) -> None:
        """Choose the cases up to a number of processes."""
        counts = [count for count in (1, 4) if count < processes]
        self.cases = [Case(count, 1) for count in (*counts, processes)] + [Case(1, 10), Case(1, 500)]
        self._most = Case(processes, 1)
        self._order = list(WAYS)
        self._writers = writers
        self._rounds = {case: Rounds() for case in self.cases}

    def round(self) -> None:
        """Let every way run once in every case."""
        self._order.reverse()
        for case in self.cases:
            for way in self._order:
                self._rounds[case].add(way, self._writers.measure(way, case))

    def figures(self) -> dict[str, Any]:
        """Return the figures for `--json`: the ratios with the most processes, one event a transaction."""
        rounds = self._rounds[self._most]
        return {
            "append_ratio_to_psycopg": rounds.ratio(PSYCOPG, BARE_PSYCOPG),
            "append_lowest_ratio_to_psycopg": rounds.ratios(PSYCOPG, BARE_PSYCOPG)[0],
            "append_highest_ratio_to_psycopg": rounds.ratios(PSYCOPG, BARE_PSYCOPG)[-1],
            "append_ratio_to_session": rounds.ratio(SESSION, BARE_SESSION),
            "append_ratio_to_eventsourcing": rounds.ratio(PSYCOPG, PEER),
            "append_ratio_of_inline": rounds.ratio(INLINE, PSYCOPG),
            "append_lowest_ratio_of_inline": rounds.ratios(INLINE, PSYCOPG)[0],
            "append_highest_ratio_of_inline": rounds.ratios(INLINE, PSYCOPG)[-1],
            "append_ratio_of_inline_on_one_row": rounds.ratio(INLINE_SHARED, PSYCOPG),
            "append_ratio_of_two_tags": rounds.ratio(TAGGED, PSYCOPG),
            "append_psycopg_events_per_second": rounds.rate(PSYCOPG),
            "append_inline_events_per_second": rounds.rate(INLINE),
            "append_session_events_per_second": rounds.rate(SESSION),
            "append_eventsourcing_events_per_second": rounds.rate(PEER),
            "processes": self._most.processes,
        }

    def rates(self) -> dict[str, dict[str, list[float]]]:
        """Return the rates of every way in every case."""
        return {str(case): rounds.all_rates() for case, rounds in self._rounds.items()}

    def table(self, case: Case, where: str) -> Table:
        """Return the figures of a case."""
        rounds = self._rounds[case]
        return rounds.table(f"{case}, {where}", "ratio", lambda way: rounds.ratio(way, _COMPARED.get(way, way)))


@click.command("append")
@given(broker=False)
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Of each measurement.")
@click.option("--processes", type=click.IntRange(1), default=8, show_default=True, help="The most writers at once.")
@click.option(
    "--stored", type=click.IntRange(100), default=1_000_000, show_default=True, help="Events beside a decision's."
)
def command(shared: Given, *, seconds: float, processes: int, stored: int) -> None:
    """Append events in transactions."""
    with shared.database() as (url, version):
        create_tables(url)
        create_read_model(url)
        with Writers(url, processes=processes, seconds=seconds) as writers:
            run = AppendRun(writers, processes)
            for _ in track(range(shared.rounds), "rounds", console=shared.console):
                run.round()
        decision_ms = decision_read_ms(url, stored)
        for case in run.cases:
            show(run.table(case, f"PostgreSQL {version}, {machine()}"), shared.console)
        shared.console.print(f"a decision of 100 events among {stored:,}: read in {decision_ms:.2f} ms, the median")
        shared.console.print(NOTES, style="dim", highlight=False)
    if shared.plot:
        bars(
            shared.plot,
            f"appends, PostgreSQL {version}, {machine()}",
            run.rates(),
            pale={BARE_PSYCOPG, BARE_SESSION, PEER},
        )
    if shared.as_json:
        last_line({**run.figures(), "decision_read_ms": decision_ms})
