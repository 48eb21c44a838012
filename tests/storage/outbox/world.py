"""PostgreSQL as the reader sees it, in a few lines: positions, visibility, locks, and the moment between the two.

A commit makes rows visible first; at that moment the lock's holder is listed as `n/0`, and only then the lock goes. A
statement takes its snapshot first and reads the list of holders after it: `meanwhile` runs in between.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from eventkit.storage.outbox.gap_reader import Ask, Horizon, LogPage, Row

TOPIC = "topic"
Act = Callable[[], None]


@dataclass
class Transaction:
    """An append's transaction; `marks` are its savepoints, as lengths of `rows`."""

    number: int
    rows: list[Row] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    visible: bool = False
    locked: bool = False

    @property
    def holder(self) -> str:
        """The virtual id that pg_locks shows."""
        return f"{self.number}/0" if self.visible else f"{self.number}/{self.number + 100}"


class World:
    """One server's `events` and `outbox`; a `Source` of the reader."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self.drawn = 0
        self.transactions: list[Transaction] = []  # open, or committed and not yet unlocked
        self.versions: dict[str, int] = {}
        self.owners: dict[str, Transaction] = {}  # who has locked a stream's row
        self.committed: dict[int, Row] = {}
        self.outbox: set[int] = set()
        self.meanwhile: Act = lambda: None
        self._began = 0

    def begin(self) -> Transaction:
        """Open a transaction."""
        self._began += 1
        transaction = Transaction(self._began)
        self.transactions.append(transaction)
        return transaction

    def append(self, transaction: Transaction, stream: str, count: int = 1) -> None:
        """Append to a stream, unless another transaction has its row."""
        if transaction.visible or self.owners.setdefault(stream, transaction) is not transaction:
            return
        transaction.locked = True
        for _ in range(count):
            self.drawn += 1
            version = self.versions.get(stream, 0) + sum(row[2] == stream for row in transaction.rows) + 1
            transaction.rows.append((self.drawn, TOPIC, stream, version))

    def savepoint(self, transaction: Transaction) -> None:
        """Set a savepoint."""
        transaction.marks.append(len(transaction.rows))

    def back(self, transaction: Transaction) -> None:
        """Roll back to the last savepoint; the lock goes with the first append."""
        if transaction.marks:
            del transaction.rows[transaction.marks.pop() :]
            transaction.locked = bool(transaction.rows)
            kept = {row[2] for row in transaction.rows}
            self._give_back(transaction, keep=kept)

    def commit(self, transaction: Transaction) -> None:
        """Make it visible; the lock stays a moment."""
        if not transaction.visible:
            transaction.visible = True
            for row in transaction.rows:
                self.committed[row[0]] = row
                self.outbox.add(row[0])
                self.versions[row[2]] = row[3]
            self._give_back(transaction)

    def unlock(self, transaction: Transaction) -> None:
        """End a commit: release the lock."""
        if transaction.visible:
            self.transactions.remove(transaction)

    def abort(self, transaction: Transaction) -> None:
        """Roll back; the lock goes."""
        if not transaction.visible:
            self._give_back(transaction)
            self.transactions.remove(transaction)

    def skip(self, count: int) -> None:
        """Let the sequence jump ahead, as after a crash."""
        self.drawn += count

    def _give_back(self, transaction: Transaction, keep: set[str] | frozenset[str] = frozenset()) -> None:
        for stream in [s for s, owner in self.owners.items() if owner is transaction and s not in keep]:
            del self.owners[stream]

    def holders(self) -> frozenset[str]:
        """Return the rows of pg_locks."""
        return frozenset(transaction.holder for transaction in self.transactions if transaction.locked)

    def horizon(self) -> Horizon:
        """Return the highest visible position and, later, the holders."""
        position = max(self.committed, default=0)
        self.meanwhile()
        return Horizon(position, self.holders(), "server")

    def fetch(self, ask: Ask) -> LogPage:
        """Answer from a snapshot; the list of holders is read after it."""
        found = [*self._above(ask), *self._singles(ask)]
        for low, high in ask.spans:
            found += self._span(low, high, ask)
        found.sort()
        rows = found[: min(ask.limit, ask.max_bytes)]  # every row has one byte here
        self.meanwhile()
        holders = self.holders() if found or ask.watch else frozenset()
        return LogPage(rows, holders, len(rows) < ask.limit and len(rows) == len(found), "server")

    def _above(self, ask: Ask) -> list[Row]:
        above = sorted(position for position in self.committed if position > ask.cursor)
        return [self._row(position) for position in above[: ask.limit if ask.above else 0]]

    def _singles(self, ask: Ask) -> list[Row]:
        return [self._row(position) for position in ask.positions if position in self.committed]

    def _span(self, low: int, high: int, ask: Ask) -> list[Row]:
        left_out = set(ask.in_flight)
        inside = sorted(p for p in self.outbox if low < p <= high and p not in left_out)
        return [self._row(position) for position in inside[: ask.limit]]

    def _row(self, position: int) -> Row:
        row = self.committed[position]
        return row if position in self.outbox else (row[0], None, *row[2:])
