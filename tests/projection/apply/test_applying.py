"""Events take effect once, in any sequence of deliveries."""

import uuid
from contextlib import suppress

import psycopg
import pytest

from eventkit.errors import DatabaseUnavailable, VersionMismatch
from eventkit.projection.transaction import OwnTransaction
from eventkit.storage.db.connection import connect
from eventkit.storage.events.stream_history import RemoteHistory
from tests.projection.shop import (
    Left,
    Noted,
    Ordered,
    apply,
    checkpoints,
    letters,
    message,
    orders,
    projector,
    rows,
    store,
    totals,
)
from tests.servers.postgres import PostgresServer


def test_events_of_many_streams_are_folded_into_their_rows(url: str) -> None:
    """A table projection is the fold of its events."""
    batch = [*orders("order-1", 3), *orders("order-2", 2), *orders("order-3", 1, customer="bob")]

    done = apply(url, batch)

    assert rows(url) == [("ann", 5, 5), ("bob", 1, 1)]
    assert done.counters.applied == 6
    assert checkpoints(url) == {"order-1": (3, False), "order-2": (2, False), "order-3": (1, False)}


def test_a_redelivered_batch_changes_nothing_and_is_counted(url: str) -> None:
    """At or below the checkpoint with the same id is a duplicate."""
    batch = orders("order-1", 3)

    done = apply(url, batch, batch, batch[1:], [*batch, *batch])

    assert rows(url) == [("ann", 3, 3)]
    assert done.counters.duplicates == 3 + 2 + 6


def test_a_header_without_a_value_is_a_missing_one(url: str) -> None:
    """An event's place and id are those of the header that has a value, wherever it stands."""
    batch = orders("order-1", 3)
    for item in batch:
        item.headers = [*dict.fromkeys(name for name, _ in item.headers).items(), *item.headers]  # type: ignore[list-item]

    done = apply(url, batch, orders("order-1", 3))

    assert rows(url) == [("ann", 3, 3)]
    assert (done.counters.applied, done.counters.duplicates) == (3, 3)
    assert letters(url) == []


def test_a_redelivery_that_brings_new_events_applies_only_those(url: str) -> None:
    """A rewind over the checkpoint applies the events above it."""
    done = apply(
        url, orders("order-1", 3), orders("order-1", 5), [*orders("order-1", 2, first=4), *orders("order-1", 6)]
    )

    assert rows(url) == [("ann", 6, 6)]
    assert (done.counters.applied, done.counters.duplicates) == (6, 3 + 5 + 2)


def test_a_discarded_producers_late_messages_are_put_in_order(url: str) -> None:
    """17-20, 4, 5, 6 in one batch is sorted before it is applied."""
    late = [*orders("order-1", 2, first=4), *orders("order-1", 3), *orders("order-1", 2, first=4)]

    done = apply(url, late)

    assert rows(url) == [("ann", 5, 5)]
    assert done.counters.duplicates == 2


def test_unhandled_types_advance_and_are_counted(url: str) -> None:
    """Producers can add types freely."""
    done = apply(url, [message("order-1", 1, Noted()), message("order-1", 2, Ordered("ann", 1))])

    assert rows(url) == [("ann", 1, 1)]
    assert (done.counters.applied, done.counters.unhandled) == (2, 1)
    assert checkpoints(url) == {"order-1": (2, False)}


def test_a_handler_deletes_its_row_and_a_later_event_starts_a_new_one(url: str) -> None:
    """DELETE deletes; the next event of that key gets the table's defaults, also within one batch."""
    apply(url, [*orders("order-1", 2), message("order-1", 3, Left("ann"))])
    assert rows(url) == []

    apply(
        url,
        [
            message("order-1", 4, Ordered("ann", 7)),
            message("order-1", 5, Left("ann")),
            message("order-1", 6, Ordered("ann", 9)),
        ],
    )

    assert rows(url) == [("ann", 1, 9)]


def test_a_fork_at_the_checkpoint_parks_the_stream(url: str) -> None:
    """Another id at the version of the checkpoint is no duplicate."""
    fork = message("order-1", 2, Ordered("ann", 100), event_id=uuid.uuid4())

    done = apply(url, orders("order-1", 2), [fork], orders("order-1", 1, first=3))

    assert rows(url) == [("ann", 2, 2)]
    assert letters(url) == [("order-1", 2, "fork"), ("order-1", 3, "behind")]
    assert checkpoints(url) == {"order-1": (2, True)}
    assert done.counters.parked == 2


def test_a_fork_within_a_batch_parks_the_stream_behind_the_first_of_the_two(url: str) -> None:
    """Of two events in one place the first takes effect, the second is kept."""
    fork = message("order-1", 2, Ordered("ann", 100), event_id=uuid.uuid4())

    apply(url, [*orders("order-1", 2), fork, *orders("order-1", 1, first=3)])

    assert rows(url) == [("ann", 2, 2)]
    assert letters(url) == [("order-1", 2, "fork"), ("order-1", 3, "behind")]


def test_a_gap_is_repaired_from_the_store(url: str) -> None:
    """Events that the transport lost are read from `events`, in this database, and counted."""
    events = orders("order-1", 6)
    store(url, events)

    done = apply(url, events[:2], events[4:])

    assert rows(url) == [("ann", 6, 6)]
    assert (done.counters.applied, done.counters.repaired) == (6, 2)


def test_a_stream_that_begins_late_is_repaired_from_its_first_event(url: str) -> None:
    """A topic's retention does not cut a read model short."""
    events = orders("order-1", 2500)
    store(url, events)

    apply(url, events[-1:])

    assert rows(url) == [("ann", 2500, 2500)]


def test_a_gap_that_the_store_cannot_fill_holds_the_stream(url: str) -> None:
    """Events behind a hole are kept, not applied; other streams continue."""
    done = apply(
        url,
        [*orders("order-1", 1), *orders("order-1", 2, first=3), *orders("order-2", 1)],
        orders("order-1", 1, first=5),
    )

    assert rows(url) == [("ann", 2, 2)]
    assert letters(url) == [("order-1", 3, "gap"), ("order-1", 4, "behind"), ("order-1", 5, "behind")]
    assert done.counters.parked == 3


def test_a_held_stream_continues_when_the_missing_event_comes(url: str) -> None:
    """Late is not lost: nobody need redrive a gap."""
    events = orders("order-1", 6)

    apply(url, events[:1], events[2:4], events[1:2], events[4:])

    assert rows(url) == [("ann", 6, 6)]
    assert (letters(url), checkpoints(url)) == ([], {"order-1": (6, False)})


def test_a_held_stream_continues_at_the_next_start_when_the_store_has_the_events(url: str) -> None:
    """A gap is checked again without a new message."""
    events = orders("order-1", 4)
    apply(url, events[:1], events[2:])

    store(url, events)
    apply(url)

    assert rows(url) == [("ann", 4, 4)]
    assert letters(url) == []


def test_another_declared_version_applies_nothing(url: str) -> None:
    """Two folds are never mixed: the newer asks for its rebuild."""
    apply(url, orders("order-1", 1))

    with pytest.raises(VersionMismatch, match="declared with version 2, live is version 1"):
        apply(url, orders("order-1", 2), projection=totals(version=2))

    assert rows(url) == [("ann", 1, 1)]


def test_a_version_that_goes_live_stops_the_older_process_at_its_next_batch(url: str) -> None:
    """The fence is read in every transaction."""
    with projector(url) as running:
        running.apply(orders("order-1", 1))
        rows_changed(url, "update eventkit.projections set declared_version = 2")

        with pytest.raises(VersionMismatch):
            running.apply(orders("order-1", 2))

    assert rows(url) == [("ann", 1, 1)]


def test_the_store_may_be_in_another_database(url: str, postgres: PostgresServer) -> None:
    """A gap is repaired through a connection of its own; a store that is away holds the stream, and stops nobody."""
    elsewhere = postgres.fresh()
    events = orders("order-1", 4)
    store(elsewhere, events)
    history = RemoteHistory(lambda: connect(elsewhere, name="repair", autocommit=True), "eventkit")
    away = RemoteHistory(lambda: connect(elsewhere + "_gone", name="repair", autocommit=True), "eventkit")

    with projector(url, history=away) as running:
        running.apply([*events[3:], *orders("order-2", 1)])
    held = letters(url)
    with projector(url, history=history):
        pass  # reads the held streams when it starts

    history.close()
    postgres.drop(elsewhere)
    assert held == [("order-1", 4, "gap")]
    assert rows(url) == [("ann", 5, 5)]
    assert letters(url) == []


def rows_changed(url: str, statement: str) -> None:
    """Change something behind the projector's back."""
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def test_an_after_commit_call_happens_after_the_commit_and_never_after_a_rollback(url: str) -> None:
    """A reply that was not committed is never at hand."""
    called: list[str] = []
    with connect(url, name="test", autocommit=False) as connection:
        workspace = OwnTransaction(connection)

        with suppress(ZeroDivisionError), workspace.transaction():
            workspace.when_committed(lambda: called.append("rolled back"))
            raise ZeroDivisionError
        with workspace.transaction() as open_:
            open_.execute("select 1")
            workspace.when_committed(lambda: called.append("committed"))
            assert called == []

    assert called == ["committed"]


@pytest.mark.parametrize("with_sqlalchemy", [False, True])
def test_a_connection_that_is_lost_at_the_beginning_is_waited_for(url: str, *, with_sqlalchemy: bool) -> None:
    """It is an absence like any other, not the end of the process."""
    with connect(url, name="test", autocommit=False) as connection:
        connection.execute("select 1")
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))

        with pytest.raises(DatabaseUnavailable):
            OwnTransaction(connection, with_sqlalchemy=with_sqlalchemy)
