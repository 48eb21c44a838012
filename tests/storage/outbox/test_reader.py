"""The reader's hard cases, each by hand: a world in which every step is placed, and the expected pages."""

from collections.abc import Iterable, Iterator

from eventkit.storage.outbox.gap_reader import GapReader, Row
from tests.storage.outbox.world import Transaction, World


def committed(world: World, stream: str) -> None:
    """Append one event in a transaction that ends at once."""
    transaction = world.begin()
    world.append(transaction, stream)
    end(world, transaction)


def end(world: World, transaction: Transaction) -> None:
    """Commit and release the lock."""
    world.commit(transaction)
    world.unlock(transaction)


def names(rows: Iterable[Row]) -> list[str]:
    """Return rows as `stream version`."""
    return [f"{row[2]} {row[3]}" for row in rows]


def pages(reader: GapReader) -> Iterator[list[Row]]:
    """Read as the relay does, leaving out messages in flight."""
    flight: set[int] = set()
    while True:
        rows = reader.read(lambda: flight)
        flight.update(row[0] for row in rows)
        yield rows


def test_a_commit_between_the_pages_of_a_span_starts_it_again() -> None:
    """One transaction's two events of a stream, on two pages of the first read, become visible between the two."""
    world = World()
    late = world.begin()
    world.append(late, "a")
    committed(world, "b")
    world.append(late, "a")
    committed(world, "c")
    reader = GapReader(world, limit=1)
    reader.start_pending()
    reading = pages(reader)

    first = names(next(reading))
    end(world, late)
    rest = [name for _ in range(6) for name in names(next(reading))]

    assert first == ["b 1"]
    assert rest == ["a 1", "a 2", "c 1"]
