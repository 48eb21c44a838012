"""Stories: the events of a correlation id, the causes of an event, and its effects."""

import threading
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from eventkit import Append, Envelope, InvalidEvent, UnsupportedConnection
from eventkit.storage.events import causation
from eventkit.storage.events.read import Window
from tests.storage.shop import Placed, order, sqlalchemy_url, store
from tests.waiting import wait_until

STORY = "from-a-client"


def appended(
    connection: psycopg.Connection[Any], number: int, cause: Envelope[Any] | None = None, **metadata: str
) -> Envelope[Any]:
    """Append to a stream of its own, because of something or out of nothing."""
    bound = store if cause is None else store.following(cause)
    bound.append(connection, order(number), Placed(number), metadata=metadata or None)
    return next(store.read_stream(connection, order(number), backwards=True, limit=1))


def numbers(envelopes: Any) -> list[int]:  # noqa: ANN401 envelopes of any kind
    """Return the numbers that identify the events."""
    return [envelope.event.n for envelope in envelopes]


@pytest.mark.both_postgres
@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_a_story_has_its_events_in_order_across_streams(database_url: str, batch: int) -> None:
    """Also its first event, which has no correlation id but gives it; forwards, backwards, from a position, limited."""
    with psycopg.connect(database_url) as connection:
        first = appended(connection, 1)
        appended(connection, 2)
        second = appended(connection, 3, first)
        appended(connection, 4, second)
        appended(connection, 5, correlation_id=STORY)
        connection.commit()

        def read(story: str, **how: Any) -> list[int]:  # noqa: ANN401 arguments of read_all
            return numbers(store.read_all(connection, correlation_id=story, batch=batch, **how))

        assert read(str(first.id)) == [1, 3, 4]
        assert read(str(first.id), backwards=True) == [4, 3, 1]
        assert read(str(first.id), limit=2) == [1, 3]
        assert read(str(first.id), after=second.position or 0) == [4]
        assert read(str(first.id), types=[Placed], categories=["order"]) == [1, 3, 4]
        assert read(str(first.id), categories=["invoice"]) == []
        assert read(STORY) == [5]
        assert read("nobody's") == []


def test_a_story_is_read_by_its_index(database_url: str) -> None:
    """Among any other events, and with any statistics."""
    with psycopg.connect(database_url) as connection:
        many = [Append(order(number), [Placed(number)]) for number in range(2_000)]
        store.append_many(connection, many)
        appended(connection, 9_999, correlation_id=STORY)
        connection.commit()
        for statistics in ("", "analyze eventkit.events"):
            connection.execute(statistics or "select")
            text, params = _page(connection)
            plan = "\n".join(row[0] for row in connection.execute(f"explain {text}", params))
            assert "events_correlation_idx" in plan
            assert "Seq Scan" not in plan


def _page(connection: psycopg.Connection[Any]) -> tuple[str, Any]:
    pages = store._log(Window(0, None, 1_000), store._chosen([], [], None, None), STORY, backwards=False)
    text, params = pages.ask()
    pages.take(connection.execute(text, params).fetchall())
    return pages.ask()


def test_a_story_ends_before_a_position_that_may_still_be_filled(database_url: str) -> None:
    """An append that stays open is not passed; once it has ended the rest is there, in order."""
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as slow:
        appended(connection, 1, correlation_id=STORY)
        connection.commit()
        appended(slow, 2, correlation_id=STORY)
        appended(connection, 3, correlation_id=STORY)
        connection.commit()

        while_open = numbers(store.read_all(connection, correlation_id=STORY))
        backwards = numbers(store.read_all(connection, correlation_id=STORY, backwards=True))
        slow.commit()
        afterwards = numbers(store.read_all(connection, correlation_id=STORY))

    assert (while_open, backwards, afterwards) == ([1], [3, 1], [1, 2, 3])


def test_a_story_waits_for_an_append_that_ends_soon(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open transaction of the usual length shortens no story: it is waited for."""
    monkeypatch.setattr(causation, "_MAX_WAITS", 10_000)  # a slow machine must not make it too long
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as slow:
        appended(slow, 1, correlation_id=STORY)
        appended(connection, 2, correlation_id=STORY)
        connection.commit()
        found: list[int] = []
        reading = threading.Thread(
            target=lambda: found.extend(numbers(store.read_all(connection, correlation_id=STORY)))
        )
        with psycopg.connect(database_url, autocommit=True) as watch:
            reading.start()
            asked = "select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
            wait_until(lambda: watch.execute(asked).fetchone() is not None or not reading.is_alive(), timeout=60)
        slow.commit()
        reading.join()

    assert found == [1, 2]


def test_a_snapshot_that_hides_appends_is_refused_for_a_story_forwards(database_url: str) -> None:
    """As `read_all` refuses it."""
    with psycopg.connect(database_url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(UnsupportedConnection, match="READ COMMITTED"):
            list(store.read_all(connection, correlation_id=STORY))


@pytest.mark.both_postgres
def test_causes_lead_from_the_first_to_the_event(database_url: str) -> None:
    """Across streams; at most so many, the nearest; empty where there is no such event."""
    with psycopg.connect(database_url) as connection:
        first = appended(connection, 1)
        second = appended(connection, 2, first)
        appended(connection, 3, first)
        last = appended(connection, 4, second)

        assert numbers(store.read_causes(connection, last.id)) == [1, 2, 4]
        assert numbers(store.read_causes(connection, last.id, limit=2)) == [2, 4]
        assert numbers(store.read_causes(connection, first.id)) == [1]
        assert store.read_causes(connection, uuid4()) == []


@pytest.mark.both_postgres
def test_a_tree_has_each_event_before_its_effects(database_url: str) -> None:
    """With its depth; the nearest are kept where there are too many, and the result says that it is cut."""
    with psycopg.connect(database_url) as connection:
        first = appended(connection, 1)
        second = appended(connection, 2, first)
        third = appended(connection, 3, first)
        appended(connection, 4, third)
        fifth = appended(connection, 5, second)
        appended(connection, 6, fifth)
        appended(connection, 7)

        def tree(event: Envelope[Any], limit: int = 1_000) -> list[tuple[int, int]]:
            return [(depth, one.event.n) for depth, one in store.causation_tree(connection, event.id, limit=limit)]

        assert tree(first) == [(0, 1), (1, 2), (2, 5), (3, 6), (1, 3), (2, 4)]
        assert tree(second) == [(0, 2), (1, 5), (2, 6)]
        assert tree(first, limit=3) == [(0, 1), (1, 2), (1, 3)]
        cut = [store.causation_tree(connection, first.id, limit=limit).is_cut for limit in (1, 5, 6, 7)]
        assert cut == [True, True, False, False]
        assert store.causation_tree(connection, uuid4()) == []


def test_causes_that_go_round_in_a_circle_end(database_url: str) -> None:
    """Ids chosen by a caller in advance may name each other; and a cause may be no event of this store."""
    ids = [uuid4(), uuid4()]
    with psycopg.connect(database_url) as connection:
        for number, (event_id, cause) in enumerate(zip(ids, reversed(ids), strict=True)):
            metadata = {"causation_id": str(cause)}
            store.append(connection, order(number), Placed(number), ids=[event_id], metadata=metadata)
        outside = appended(connection, 7, causation_id="a-request")

        assert numbers(store.read_causes(connection, ids[0])) == [1, 0]
        assert [one.event.n for _, one in store.causation_tree(connection, ids[0])] == [0, 1]
        assert numbers(store.read_causes(connection, outside.id)) == [7]


def test_a_wide_tree_is_bounded(database_url: str) -> None:
    """An event that has caused thousands costs no more than the requested number."""
    with psycopg.connect(database_url) as connection:
        first = appended(connection, 1)
        effects = [Append(order(number), [Placed(number)]) for number in range(2, 3_000)]
        store.following(first).append_many(connection, effects)

        found = store.causation_tree(connection, first.id, limit=50)

    assert [depth for depth, _ in found] == [0, *[1] * 49]
    assert found.is_cut


async def test_stories_are_read_asynchronously_too(database_url: str) -> None:
    """On psycopg's and on SQLAlchemy's connections."""
    with psycopg.connect(database_url) as connection:
        first = appended(connection, 1)
        second = appended(connection, 2, first)
    engine = create_async_engine(sqlalchemy_url(database_url))
    async with await psycopg.AsyncConnection.connect(database_url) as plain, engine.connect() as sqlalchemy:
        for reader in (plain, sqlalchemy):
            story = [one async for one in store.read_all_async(reader, correlation_id=str(first.id))]
            causes = await store.read_causes_async(reader, second.id)
            tree = await store.causation_tree_async(reader, first.id)
            assert numbers(story) == numbers(causes) == [1, 2]
            assert [(depth, one.event.n) for depth, one in tree] == [(0, 1), (1, 2)]
    await engine.dispose()


@pytest.mark.parametrize("wrong", ["", 7])
def test_an_invalid_correlation_id_is_refused(database_url: str, wrong: Any) -> None:  # noqa: ANN401 of no type
    """Neither is an invalid event id taken, nor an invalid number of events."""
    with psycopg.connect(database_url) as connection:
        with pytest.raises(InvalidEvent, match="correlation_id"):
            store.read_all(connection, correlation_id=wrong)
        with pytest.raises(InvalidEvent, match="UUID"):
            store.read_causes(connection, wrong)
        with pytest.raises(InvalidEvent, match="limit"):
            store.causation_tree(connection, uuid4(), limit=0)
