"""Watches the parts of a run: how long each was without a relay, and how evenly the living relays shared them."""

import time
from collections import Counter

import psycopg

from eventkit.storage.outbox import LEASE_SECONDS, lease_name, lease_rows
from eventkit.storage.outbox.part_leases import PROCESS
from tests.faults.threads import Threads

INTERVAL = 0.05  # seconds between two looks
SLACK = 2.0  # seconds beyond a lease, on a busy machine


class PartWatch(Threads):
    """Looks at the leases until the end of its block."""

    def __init__(self, url: str, parts: int) -> None:
        super().__init__([self._watch])
        self._url = url
        self._names = {lease_name(part, parts) for part in range(parts)}
        self.longest = 0.0  # seconds that a part was without a relay while a relay process was alive
        self.looks = 0
        self.balanced = 0  # looks at which no two living relays differed by two or more
        self.moves = 0

    @property
    def clean(self) -> bool:
        """Whether no part waited for longer than a lease."""
        return self.longest < LEASE_SECONDS + SLACK

    def described(self) -> str:
        """Return the figures in one line."""
        share = 100 * self.balanced / max(1, self.looks)
        longest = f"a part was without a relay for {self.longest:.1f} s at most"
        return f"{longest}; balanced {share:.0f} % of the time; {self.moves} moves"

    def _watch(self) -> None:
        without: dict[str, float] = {}
        owners: dict[str, tuple[str, int]] = {}
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self.over.wait(INTERVAL):
                now = time.monotonic()
                rows = [row for row in lease_rows(connection, "eventkit") if row.is_held]
                members = {row.session for row in rows if row.name.startswith(PROCESS)}
                held = {row.name: row for row in rows if row.name in self._names}
                for name in self._names:
                    if name in held or not members:
                        without.pop(name, None)
                    else:
                        self.longest = max(self.longest, now - without.setdefault(name, now))
                counts = Counter(row.session for row in held.values())
                shares = [counts.get(session, 0) for session in members]
                self.looks += bool(shares)
                self.balanced += bool(shares) and max(shares) - min(shares) <= 1
                self.moves += sum(owners.get(name) not in (None, (row.owner, row.epoch)) for name, row in held.items())
                owners |= {name: (row.owner, row.epoch) for name, row in held.items()}
