"""Reading a part: up to a version or a time, of some types, categories or times, forwards and backwards."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import Connection

from eventkit.errors import InvalidEvent
from eventkit.storage.events.event_store import EventStore
from tests.storage.shop import Placed, order
from tests.storage.shop import store as orders
from tests.storage.tags.courses import CourseDefined, Subscribed, school

store = EventStore(school)


def fill(connection: Connection) -> list[datetime]:
    """Append to two categories; return when each event was recorded."""
    for number in range(4):
        store.append(connection, school.stream("course", number), CourseDefined(f"c{number}"))
        store.append(connection, school.stream("subscription", number), Subscribed(f"c{number}", "s1"))
    connection.commit()
    return [one.recorded_at for one in store.read_all(connection)]


@pytest.mark.both_postgres
@pytest.mark.parametrize("batch", [1, 3, 1000])
@pytest.mark.parametrize("backwards", [False, True])
def test_types_categories_and_times_choose(database_url: str, batch: int, backwards: bool) -> None:  # noqa: FBT001
    """Each alone and all together; the server passes the others over."""
    with psycopg.connect(database_url) as connection:
        times = fill(connection)

        def read(**chosen: object) -> list[object]:
            found = [one.event for one in store.read_all(connection, batch=batch, backwards=backwards, **chosen)]  # type: ignore[arg-type]
            return found[::-1] if backwards else found

        assert read(types=[Subscribed]) == [Subscribed(f"c{number}", "s1") for number in range(4)]
        assert read(categories=["course"]) == [CourseDefined(f"c{number}") for number in range(4)]
        assert read(since=times[2], until=times[4]) == [CourseDefined("c1"), Subscribed("c1", "s1")]
        assert read(types=[Subscribed], categories=["course"]) == []
        assert read(types=[Subscribed], since=times[3]) == [Subscribed(f"c{number}", "s1") for number in (1, 2, 3)]


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_a_limit_counts_chosen_events(database_url: str, batch: int) -> None:
    """Events that are passed over do not count."""
    with psycopg.connect(database_url) as connection:
        fill(connection)

        found = store.read_all(connection, types=[Subscribed], limit=2, batch=batch)
        of_category = store.read_category(connection, "subscription", limit=1, backwards=True)

        assert [one.event.course for one in found] == ["c0", "c1"]
        assert [one.event.course for one in of_category] == ["c3"]


def test_a_chosen_reading_ends_before_a_position_that_may_still_be_filled(database_url: str) -> None:
    """An event of another kind is no gap; an open transaction is one, with any events."""
    with psycopg.connect(database_url) as connection, psycopg.connect(database_url) as slow:
        store.append(connection, school.stream("course", 1), CourseDefined("c1"))
        store.append(connection, school.stream("subscription", 1), Subscribed("c1", "s1"))
        connection.commit()
        store.append(slow, school.stream("course", 2), CourseDefined("c2"))
        store.append(connection, school.stream("subscription", 2), Subscribed("c3", "s2"))  # no tag of the open one
        connection.commit()
        early = [one.event for one in store.read_all(connection, types=[Subscribed])]
        slow.rollback()

        assert early == [Subscribed("c1", "s1")]
        assert [one.event.student for one in store.read_all(connection, types=[Subscribed])] == ["s1", "s2"]


@pytest.mark.parametrize(
    ("part", "versions"), [({"until": 2}, [1, 2]), ({"before": 2}, [1]), ({"until": 9}, [1, 2, 3])]
)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_stream_is_read_up_to_a_version(
    database_url: str,
    part: dict[str, int],
    versions: list[int],
    backwards: bool,  # noqa: FBT001
) -> None:
    """`until` is the last one, `before` the first that is left out."""
    with psycopg.connect(database_url) as connection:
        orders.append(connection, order(1), Placed(1), Placed(2), Placed(3))

        found = [one.version for one in orders.read_stream(connection, order(1), backwards=backwards, **part)]

    assert (found[::-1] if backwards else found) == versions


def test_a_stream_is_read_up_to_a_time(database_url: str) -> None:
    """An event recorded at that very time is in it."""
    with psycopg.connect(database_url) as connection:
        for number in (1, 2, 3):
            orders.append(connection, order(1), Placed(number))
        times = [one.recorded_at for one in orders.read_stream(connection, order(1))]

        assert [one.version for one in orders.read_stream(connection, order(1), until=times[1])] == [1, 2]
        assert list(orders.read_stream(connection, order(1), until=times[0] - timedelta(days=1))) == []


@pytest.mark.parametrize(
    "part",
    [{"until": 1, "before": 2}, {"until": -1}, {"before": 2.5}, {"until": datetime(2026, 1, 1)}],  # noqa: DTZ001
)
def test_an_invalid_end_is_refused(database_url: str, part: dict[str, object]) -> None:
    """An end is one of the two, and a time has a zone."""
    with psycopg.connect(database_url) as connection, pytest.raises(InvalidEvent):
        list(orders.read_stream(connection, order(1), **part))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "chosen",
    [
        {"categories": "order"},
        {"types": Placed},
        {"since": "2026-01-01"},
        {"until": datetime(2026, 1, 1).date()},  # noqa: DTZ001
        {"since": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"batch": 2**31},
        {"correlation_id": "a\0b"},
        {"correlation_id": "\ud800"},
        {"correlation_id": 5},
        {"limit": -1},
        {"after": 2**63},
    ],
    ids=ascii,
)
def test_a_slip_in_a_choice_is_refused_and_selects_nothing_else(database_url: str, chosen: dict[str, object]) -> None:
    """A text is not taken for a list of letters; the caller's transaction stays usable."""
    with psycopg.connect(database_url) as connection:
        with pytest.raises(InvalidEvent):
            orders.read_all(connection, **chosen)  # type: ignore[arg-type]
        assert list(orders.read_all(connection)) == []


async def test_asynchronous_connections_choose_likewise(database_url: str) -> None:
    """The same parts, by `async for`."""
    with psycopg.connect(database_url) as connection:
        fill(connection)
    async with await psycopg.AsyncConnection.connect(database_url) as connection_:
        now = datetime.now(UTC) + timedelta(days=1)
        chosen = [one.event async for one in store.read_all_async(connection_, types=[CourseDefined], until=now)]
        of_category = [one.event async for one in store.read_category_async(connection_, "course")]
        of_stream = [one async for one in store.read_stream_async(connection_, school.stream("course", 1), until=1)]

    assert chosen == of_category
    assert len(of_stream) == 1
