"""Rounds of turns, the contestants alternating, and their results."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.laps import Lap, Laps, Load
from benchmarks.measure import Rounds, Sample
from benchmarks.peers.contestant import Contestant
from benchmarks.peers.delivered import Delivered
from benchmarks.peers.turn import Drain, Ground
from tests.servers import ServerFailed, ServerMissing

OURS, YARDSTICK = "eventkit", "debezium"
EQUAL = {"seven": (OURS, "debezium_headers"), "one": ("eventkit_structured", YARDSTICK)}  # as many headers each


class PeersRun:
    """Rounds over all contestants whose programs are here."""

    def __init__(
        self, ground: Ground, contestants: Sequence[Contestant], *, events: int, load: Load, limit: float
    ) -> None:
        """Measure nothing yet."""
        self.contestants = list(contestants)
        self.left_out: dict[str, str] = {}
        self._ground = ground
        self._events = events
        self._load = load
        self._limit = limit
        self._rounds = Rounds()
        self._laps = Laps()
        self._drains: dict[str, list[Drain]] = defaultdict(list)
        self._contended = defaultdict[str, list[Delivered]](list)

    def turns(self, rounds: int) -> Iterator[str]:
        """Let each have its turn in each round; yield who is next. One that was stopped is not asked again.

        Before them one has a turn that counts for nothing: a broker that compiles itself meanwhile must not count.
        """
        yield f"warming up the servers: {self.contestants[0].title}"
        self._turn(self.contestants[0])
        for number in range(rounds):
            for contestant in self.contestants[:: -1 if number % 2 else 1]:
                yield f"round {number + 1}: {contestant.title}"
                if all(drain.whole for drain in self._drains[contestant.name]):
                    self._count(contestant)

    def rates(self, title: str) -> Table:
        """Return the table of the backlog."""
        compared = YARDSTICK if self._drains[YARDSTICK] else self.contestants[0].name
        return self._rounds.table(title, f"to {compared}", lambda name: self._ratio(name, compared))

    def latencies(self, title: str) -> Table:
        """Return the table of the load."""
        return self._laps.table(title)

    def deliveries(self, title: str) -> Table:
        """Return the table of delivered events."""
        table = Table(title=title, title_justify="left")
        table.add_column("of all", no_wrap=True)
        for name in ("of the backlog", "contended", "lost", "repeated", "out of order", "headers"):
            table.add_column(name, justify="right")
        for contestant in self.contestants:
            figures = self._of(contestant.name)
            keys = ("contended", "lost", "duplicates", "reordered", "headers")
            table.add_row(contestant.name, self._extent(contestant.name), *(f"{figures[key]:,}" for key in keys))
        return table

    def at_equal_headers(self, title: str) -> Table:
        """Return the table of eventkit and Debezium that send as many headers."""
        table = Table(title=title, title_justify="left")
        for name in ("headers each", "eventkit/s", "Debezium/s", "ratio"):
            table.add_column(name, justify="right")
        for pair in self._equal().values():
            headers = " and ".join(sorted({str(self._of(name)["headers"]) for name in pair}))
            table.add_row(headers, *(f"{self._rounds.rate(name):,.0f}" for name in pair), f"{self._ratio(*pair):.2f}")
        return table

    def figures(self) -> dict[str, Any]:
        """Return the figures for `--json`."""
        names = [contestant.name for contestant in self.contestants]
        figures = {f"{name}_{key}": value for name in names for key, value in self._of(name).items()}
        for name in names:
            if OURS in names and name != OURS:
                figures[f"relay_ratio_to_{name}"] = self._ratio(OURS, name)
        for headers, (ours, theirs) in self._equal().items():
            figures[f"ratio_at_{headers}_header{'s' * (headers != 'one')}"] = self._ratio(ours, theirs)
        return {
            **figures,
            "events": self._drains[names[0]][0].asked,
            "rate": self._load.rate,
            "left_out": self.left_out,
        }

    def panels(self) -> dict[str, dict[str, list[float]]]:
        """Return the panels to draw."""
        names = [contestant.name for contestant in self.contestants]
        return {
            "backlog, events/s": self._rounds.all_rates(),
            f"commit to consumer at {self._load.rate:,} a second, p50 ms": {
                n: self._percentiles(n, 0.5) for n in names
            },
            "the same, p99 ms": {name: self._percentiles(name, 0.99) for name in names},
        }

    def _equal(self) -> dict[str, tuple[str, str]]:
        ran = {contestant.name for contestant in self.contestants}
        return {headers: pair for headers, pair in EQUAL.items() if ran.issuperset(pair)}

    def _turn(self, contestant: Contestant) -> tuple[Drain, tuple[Lap, Sample], Delivered] | None:
        """Return the result of a contestant's turn; None where it cannot run, and is left out from now on."""
        try:
            contestant.prepare()
            return (
                self._ground.drain(contestant, self._events, limit=self._limit),
                self._ground.follow(contestant, self._load),
                self._ground.contend(contestant, self._load.seconds),
            )
        except (ServerMissing, ServerFailed, TimeoutError, RuntimeError) as reason:
            if contestant.name == OURS:
                raise
            self.left_out[contestant.title] = str(reason)
            self.contestants.remove(contestant)
            return None

    def _count(self, contestant: Contestant) -> None:
        turn = self._turn(contestant)
        if turn is None:
            return
        drain, (lap, used), contended = turn
        self._drains[contestant.name].append(drain)
        self._rounds.add(contestant.name, drain.sample)
        self._laps.add(contestant.name, lap, used)
        self._contended[contestant.name].append(contended)

    def _of(self, name: str) -> dict[str, Any]:
        drains, contended = self._drains[name], self._contended[name]
        looked_at = [*contended, *(drain.delivered for drain in drains)]
        finished = [*contended, *(drain.delivered for drain in drains if drain.whole)]
        return {
            "events_per_second": self._rounds.rate(name),
            "p50_ms": median(self._percentiles(name, 0.5)),
            "p99_ms": median(self._percentiles(name, 0.99)),
            "lost": self._laps.sum(name, lambda lap: lap.lost) + sum(each.missing for each in finished),
            "duplicates": self._laps.sum(name, lambda lap: lap.repeated) + sum(each.repeated for each in looked_at),
            "reordered": self._laps.sum(name, lambda lap: lap.reordered) + sum(each.reordered for each in looked_at),
            "headers": max(each.headers for each in looked_at),
            "delivered": min(drain.delivered.events for drain in drains),
            "contended": sum(each.events for each in self._contended[name]),
        }

    def _percentiles(self, name: str, share: float) -> list[float]:
        return self._laps.percentiles(name, self._load.rate, share)

    def _ratio(self, name: str, other: str) -> float:
        pairs = zip(self._rounds.rates(name), self._rounds.rates(other), strict=False)  # a stopped one has fewer
        return median(a / b for a, b in pairs)

    def _extent(self, name: str) -> str:
        drains = self._drains[name]
        if all(drain.whole for drain in drains):
            return f"{len(drains)} x {drains[0].asked:,}"
        return f"{drains[-1].delivered.events:,} of {drains[-1].asked:,} in {self._limit:g} s"
