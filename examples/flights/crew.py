"""The demo's own processes: four writers, the topic's reader and the latency watcher, and the wires to them."""

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import TYPE_CHECKING, Self

from examples.flights import latency, topic_reader, writers
from examples.flights.checker import Findings
from examples.flights.latency import Timed
from examples.flights.processes import DemoFailed
from examples.flights.raw_data import Flight
from examples.flights.read_models import projections
from examples.flights.servers import CHECKER, Servers

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

WRITERS = 4
LAST_WORD = 60.0  # seconds for the reader to compare the topic with the table


class Crew:
    """Six processes; inside a `with`, none of them remains."""

    def __init__(self, servers: Servers) -> None:
        """Start none yet."""
        self._servers = servers
        self._spawn = get_context("spawn")
        self._stop = self._spawn.Event()
        self._allowed = self._spawn.Value("d", 0.0, lock=False)
        self._tallies = [self._spawn.Array("q", 4, lock=False) for _ in range(WRITERS)]
        self._distinct = self._spawn.Value("q", 0)
        self._processes: dict[str, BaseProcess] = {}
        self._findings: Connection
        self._timed: Connection

    def __enter__(self) -> Self:
        """Return the crew."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End those that still run."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.join()

    def start(self, flights: list[Flight], *, rate: float) -> None:
        """Start all; the writers wait until they are allowed to write."""
        self._findings = self._start_reader()
        samples = [self._start_writer(number, flights[number::WRITERS], rate) for number in range(WRITERS)]
        self._timed = self._start_watcher(samples)

    def allow(self, part: float) -> None:
        """Let the writers record this part of their flights, from 0 to 1."""
        self._allowed.value = part

    def check(self) -> None:
        """Raise if a process has failed."""
        for name, process in self._processes.items():
            if process.exitcode:
                raise DemoFailed(f"the {name} ended with exit code {process.exitcode}; its error stands above")

    @property
    def writing(self) -> bool:
        """Whether a writer still has something to do."""
        return any(process.is_alive() for name, process in self._processes.items() if name.startswith("writer"))

    @property
    def distinct(self) -> int:
        """How many different events the topic's reader has seen."""
        return int(self._distinct.value)

    def tally(self) -> tuple[int, int, int, int]:
        """Return flights begun, events committed, transactions committed and rolled back, by all writers."""
        flights, events, commits, rollbacks = (sum(column) for column in zip(*self._tallies, strict=True))
        return flights, events, commits, rollbacks

    def finish(self) -> tuple[Findings, list[Timed]]:
        """Say that nothing more comes; return the findings on the topic and the latencies."""
        self._stop.set()
        for name, pipe in (("topic reader", self._findings), ("latency watcher", self._timed)):
            if not pipe.poll(LAST_WORD):
                raise DemoFailed(f"the {name} did not say what it found within {LAST_WORD:.0f} s")
        return self._findings.recv(), self._timed.recv()

    def _start_writer(self, number: int, flights: list[Flight], rate: float) -> Connection:
        samples, end = self._spawn.Pipe(duplex=False)
        share = writers.Share(self._servers.psycopg_url, flights, WRITERS / rate if rate else 0)
        self._run(
            f"writer {number + 1}", writers.write, share, writers.Wires(self._allowed, self._tallies[number], end)
        )
        end.close()
        return samples

    def _start_reader(self) -> Connection:
        findings, end = self._spawn.Pipe(duplex=False)
        place = topic_reader.Place(
            transport_url=self._servers.transport_url,
            transport_options=self._servers.transport_options,
            topic=self._servers.topic,
            group=CHECKER,
            database_url=self._servers.database_url,
            schema=self._servers.schema,
        )
        self._run("topic reader", topic_reader.follow, place, topic_reader.Wires(self._stop, self._distinct, end))
        end.close()
        return findings

    def _start_watcher(self, samples: list[Connection]) -> Connection:
        timed, end = self._spawn.Pipe(duplex=False)
        wires = latency.Wires(samples, self._stop, end)
        self._run(
            "latency watcher", latency.watch, self._servers.database_url, self._servers.schema, len(projections), wires
        )
        for pipe in (*samples, end):
            pipe.close()
        return timed

    def _run(self, name: str, body: Callable[..., None], *arguments: object) -> None:
        self._processes[name] = self._spawn.Process(target=body, args=arguments, name=name, daemon=True)
        self._processes[name].start()
