"""Pages are bounded by bytes as well as by number: of streams, of everything, of history, and of letters."""

import uuid

import psycopg
import pytest
from psycopg import Connection

from eventkit.domain.message import Message
from eventkit.storage.db.execute import Row
from eventkit.storage.dead_letters.letters import DeadLetters, Letter
from eventkit.storage.dead_letters.redrive import Redrives
from eventkit.storage.events import read as reading
from eventkit.storage.events.read import log_forwards
from eventkit.storage.events.read import pages as reading_pages
from eventkit.storage.events.stream_history import OwnHistory
from tests.storage.shop import Placed, order, store

EVENTS, LARGE = 40, 880_000


def fill(connection: Connection) -> None:
    """Append small events, then large ones, of which every other is not to be compressed."""
    for number in range(EVENTS):
        noise = "".join(uuid.uuid4().hex for _ in range(LARGE // 32)) if number % 2 else "x" * LARGE
        store.append(connection, order(1), Placed(number, noise if number >= EVENTS // 2 else "small"))
    connection.commit()


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of data each page had that was read."""
    found: list[int] = []
    real = reading_pages.is_cut

    def noted(page: list[Row], limit: int) -> bool:
        found.append(sum(len(row[10] or "") for row in page))
        return real(page, limit)

    monkeypatch.setattr(reading_pages, "is_cut", noted)
    monkeypatch.setattr(log_forwards, "is_cut", noted)
    return found


@pytest.mark.both_postgres
@pytest.mark.parametrize("backwards", [False, True])
def test_a_reading_of_large_events_is_whole_in_pages_of_eight_megabytes(
    database_url: str,
    pages: list[int],
    backwards: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    """A stream's, and that of everything, however many events a page may have; a limit is kept."""
    with psycopg.connect(database_url) as connection:
        fill(connection)
        wanted = list(range(EVENTS))[:: -1 if backwards else 1]

        for read in (
            store.read_stream(connection, order(1), backwards=backwards),
            store.read_all(connection, backwards=backwards),
            store.read_all(connection, backwards=backwards, types=[Placed]),
        ):
            assert [one.event.n for one in read] == wanted
        some = store.read_all(connection, backwards=backwards, limit=25)
        assert [one.event.n for one in some] == wanted[:25]

    assert max(pages) < 2 * reading.MAX_BYTES  # the size of compressed data is a guess


def test_large_events_above_a_gap_are_held_up_to_eight_megabytes(database_url: str, pages: list[int]) -> None:
    """Nothing above an open position is returned, and no more is read than fits; later all of it is there."""
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as open_one:
        store.append(open_one, order(2), Placed(-1, "open"))
        fill(connection)

        assert list(store.read_all(connection)) == []
        connection.rollback()
        held = sum(pages)
        open_one.commit()

        assert [one.event.n for one in store.read_all(connection)] == [-1, *range(EVENTS)]
    assert held <= 3 * reading.MAX_BYTES


def test_missing_events_are_read_from_the_store_in_parts(database_url: str) -> None:
    """In order from the first, as many as fit, one at least."""
    with psycopg.connect(database_url) as connection:
        fill(connection)
        history, after = OwnHistory(connection, "eventkit"), 0
        parts: list[list[Message]] = []
        while after < EVENTS:
            parts.append(history.between(str(order(1)), after, EVENTS + 1, limit=1_000))
            after += len(parts[-1])

    assert len(parts) > 1
    assert all(sum(len(each.value) for each in part) < 2 * reading.MAX_BYTES for part in parts)


def test_letters_are_loaded_in_parts(database_url: str) -> None:
    """In order of version, as many as fit, one at least."""
    letters = DeadLetters("eventkit")
    with psycopg.connect(database_url) as connection:
        kept = [
            Letter(version, uuid.uuid4(), "Placed", "failed", "", 1, Message("t", "order-1", b"x" * LARGE, []))
            for version in range(1, 21)
        ]
        letters.keep(connection, "totals:1", "order-1", kept)

        loaded = letters.load(connection, "totals:1", "order-1", limit=1_000)
        assert [one.version for one in loaded] == list(range(1, 11))
        Redrives("eventkit").remove(connection, [one.id for one in loaded], above=0)
        assert len(letters.load(connection, "totals:1", "order-1", limit=1_000)) == 10
