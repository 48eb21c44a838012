"""Faults of a run: backends stopped and terminated, relays killed, ended, and hung past their lease."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence

import psycopg

from tests.faults.threads import Threads
from tests.faults.workload import NAME
from tests.relay.process import RelayProcess

PAST_THE_LEASE = 10.0  # seconds: a lease lasts eight


class Trouble(Threads):
    """Two threads that make trouble until the end of their block; `counts` has their number."""

    def __init__(self, url: str, relays: Sequence[RelayProcess], seed: int) -> None:
        """Aim at the writers' backends of one database, and at relays."""
        super().__init__([self._backends, self._processes])
        self._url = url
        self._relays = relays
        self._chance = random.Random(seed)
        self.counts: Counter[str] = Counter()

    def _backends(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self.over.wait(self._chance.uniform(0.02, 0.1)):
                rows = connection.execute("select pid from pg_stat_activity where application_name = %s", (NAME,))
                pids = [pid for (pid,) in rows]
                if not pids:
                    continue
                victim = self._chance.choice(pids)
                if self._chance.random() < 0.02:
                    connection.execute("select pg_terminate_backend(%s)", (victim,))
                    self.counts["backends terminated"] += 1
                else:
                    self._stop_for_a_moment(victim)

    def _stop_for_a_moment(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(self._chance.uniform(0, 0.1))
            finally:
                os.kill(pid, signal.SIGCONT)
            self.counts["backends stopped"] += 1

    def _processes(self) -> None:
        turn = 0
        while not self.over.wait(self._chance.uniform(1.0, 2.5)):
            turn += 1
            relay = self._relays[turn % len(self._relays)]
            if turn % 8 == 3:
                self._hang(relay)
            elif turn % 8 == 6:
                relay.terminate()
                self.counts["relays ended"] += 1
                relay.start()
            else:
                relay.kill()
                self.counts["relays killed"] += 1
                relay.start()

    def _hang(self, relay: RelayProcess) -> None:
        relay.signal(signal.SIGSTOP)
        self.over.wait(PAST_THE_LEASE)
        relay.signal(signal.SIGCONT)
        self.counts["relays hung"] += 1
