"""A rebuild under fire: appends keep coming, a projector follows, the rebuild is killed again and again, readers read.

Every reader looks at the sum of the read model with a statement of its own and with a prepared one, all the time: an
error or a step back is a finding. At the end the read model must be the fold of the store, row by row.
"""

import os
import random
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from eventkit import EventStore
from tests.projection.shop import CREATE, Ordered, shop
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
MODEL = "tests.projection.read_models:totals"
STREAMS, CUSTOMERS = 200, 20
_SUM = "select coalesce(sum(orders), 0) from totals"
_FOLD = "select data ->> 'customer', count(*)::int, sum((data ->> 'amount')::int)::int from eventkit.events group by 1"
_ROWS = "select customer, orders, amount from totals"
_WRONG = f"({_FOLD} except {_ROWS}) union all ({_ROWS} except {_FOLD})"


@dataclass
class Findings:
    """The result of a run."""

    appended: int = 0
    looks: int = 0
    kills: int = 0
    swaps: int = 0
    problems: list[str] = field(default_factory=list)


def run(url: str, *, seconds: float, rate: int, kills: int, seed: int = 1) -> Findings:
    """Append for so many seconds, kill so many rebuilds, let others through, and look for faults."""
    findings, over = Findings(), threading.Event()
    with psycopg.connect(url) as connection:
        connection.execute(CREATE)
    workers: list[Any] = [lambda: _write(url, findings, over, rate, seed), *2 * [lambda: _read(url, findings, over)]]
    threads = [threading.Thread(target=_guarded, args=(work, findings), daemon=True) for work in workers]
    with ExitStack() as stack:
        stack.enter_context(_running(url, "projector", "run", MODEL, "--from", "store"))
        for thread in threads:
            thread.start()
        _rebuild_again_and_again(url, findings, seconds=seconds, kills=kills, seed=seed)
        over.set()
        for thread in threads:
            thread.join(60)
        _wait_for_the_projector(url)
    with psycopg.connect(url) as connection:
        findings.problems += map(str, connection.execute(_WRONG.encode()).fetchall())
    return findings


def _rebuild_again_and_again(url: str, findings: Findings, *, seconds: float, kills: int, seed: int) -> None:
    chance, end = random.Random(seed), time.monotonic() + seconds
    while findings.kills < kills or not findings.swaps or time.monotonic() < end:
        words = ["projection", "rebuild", MODEL, "--workers", "2", *chance.choice([[], ["--resume"]])]
        with _running(url, *words) as process:
            if findings.kills < kills:
                try:
                    process.wait(chance.uniform(0.5, 2.0))
                except subprocess.TimeoutExpired:
                    process.kill()
                    findings.kills += 1
                    continue
            code = process.wait(120)
            findings.swaps += code == 0
            if code:
                findings.problems.append(f"a rebuild ended with exit code {code}")
                return


def _write(url: str, findings: Findings, over: threading.Event, rate: int, seed: int) -> None:
    store, chance, started = EventStore(shop), random.Random(seed), time.monotonic()
    with psycopg.connect(url) as connection:
        while not over.is_set():
            event = Ordered(f"c{chance.randrange(CUSTOMERS)}", 1)
            store.append(connection, f"order-{chance.randrange(STREAMS)}", event)
            connection.commit()
            findings.appended += 1
            over.wait(max(0.0, started + findings.appended / rate - time.monotonic()))


def _read(url: str, findings: Findings, over: threading.Event) -> None:
    highest = 0
    with psycopg.connect(url, autocommit=True) as connection:
        while not over.is_set():
            row = connection.execute(_SUM.encode(), prepare=findings.looks % 2 == 0).fetchone()
            if row is None or row[0] < highest:
                findings.problems.append(f"a reader saw {row} after {highest}")
            highest = row[0] if row else 0
            findings.looks += 1


def _guarded(work: Any, findings: Findings) -> None:  # noqa: ANN401 a function
    try:
        work()
    except Exception as error:  # noqa: BLE001 any error is a finding
        findings.problems.append(f"{type(error).__name__}: {error}")


def _running(url: str, *words: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "EVENTKIT_DATABASE_URL": url}
    return _Killed([sys.executable, "-m", "eventkit.cli", *words], env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)


class _Killed(subprocess.Popen):  # type: ignore[type-arg]
    """A process that is killed at the end of its block, if it is there still."""

    def __exit__(self, *given: object) -> None:
        self.kill()
        super().__exit__(*given)  # type: ignore[arg-type]


def _wait_for_the_projector(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        wait_until(
            lambda: (
                connection.execute(f"select (select count(*) from eventkit.events) = ({_SUM})").fetchone() == (True,)
            ),
            timeout=60,
            what="the projector at the end of the store",
        )
