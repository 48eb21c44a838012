"""Events of other schema versions, end to end: old ones are raised wherever they are read, newer ones wait.

A stream is written by the code of three releases; `Shelved` was once named `Stored`, and counted in dozens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, text

from eventkit import Catalog, CatalogError, Envelope, EventStore
from eventkit.projection.define.projection import Projection
from eventkit.projection.define.sql import SqlProjection
from eventkit.projection.define.table import TableProjection
from tests.projection.shop import Given, checkpoints, letters, projector, rows, sent

STREAM = "shelf-1"
STOCK = Table("stock", MetaData(), Column("item", Text, primary_key=True), Column("pieces", Integer, default=0))


@dataclass(frozen=True)
class Stored:
    """As the first release wrote it."""

    item: str
    dozens: int


@dataclass(frozen=True)
class Shelved:
    """As it is now."""

    item: str
    pieces: int


@dataclass(frozen=True)
class ShelvedAt:
    """As a later release writes it."""

    item: str
    pieces: int
    place: str


def release(cls: type, **options: Any) -> Catalog:  # noqa: ANN401 those of `event`
    """Return the catalog of a release."""
    catalog = Catalog("depot")
    catalog.event(**options)(cls)
    return catalog


def current() -> Catalog:
    """Return the catalog of this release."""
    catalog = release(Shelved, version=2, renamed_from="Stored")

    @catalog.upcast(Shelved, from_version=1)
    def in_pieces(data: dict[str, Any]) -> dict[str, Any]:
        return {"item": data["item"], "pieces": 12 * data["dozens"]}

    return catalog


first, now = release(Stored, name="Stored"), current()
newer = release(ShelvedAt, name="Shelved", version=3, oldest=3)
EXPECTED = [("ale", 29)]


def table_projection(catalog: Catalog) -> Projection:
    """Fold rows."""
    projection = TableProjection("stock", catalog, table=STOCK, key="item")

    @projection.on(Shelved)
    def shelved(row: Any, event: Shelved) -> None:  # noqa: ANN401 a row of any table
        row.pieces += event.pieces

    return projection


def sql_projection(catalog: Catalog) -> Projection:
    """Do the same in SQL, with envelopes."""
    projection = SqlProjection("stock", catalog)

    @projection.on(Shelved)
    def shelved(connection: Connection, event: Shelved, envelope: Envelope[Shelved]) -> None:
        assert envelope.event is event
        connection.execute(
            text("insert into stock values (:item, :n) on conflict (item) do update set pieces = stock.pieces + :n"),
            {"item": event.item, "n": event.pieces},
        )

    return projection


@pytest.fixture
def url(database_url: str) -> str:
    """A database with events of the first release and of this one."""
    with psycopg.connect(database_url) as connection:
        connection.execute("create table stock (item text primary key, pieces int not null)")
        EventStore(first).append(connection, STREAM, Stored("ale", 1), Stored("ale", 1))
        EventStore(now).append(connection, STREAM, Shelved("ale", 5))
    return database_url


def test_a_stream_of_several_releases_is_read_as_this_one(url: str) -> None:
    """`read_stream` and `read_all` upcast old events, and leave the envelope as it was recorded."""
    store = EventStore(now)
    with psycopg.connect(url) as connection:
        read = list(store.read_stream(connection, STREAM))

        assert [envelope.event for envelope in store.read_all(connection)] == [envelope.event for envelope in read]
    assert [envelope.event for envelope in read] == [Shelved("ale", 12), Shelved("ale", 12), Shelved("ale", 5)]
    assert [(envelope.type, envelope.schema_version) for envelope in read][1:] == [("Stored", 1), ("Shelved", 2)]


@pytest.mark.parametrize("projection", [table_projection, sql_projection])
def test_a_read_model_is_folded_from_events_of_several_releases(
    url: str, projection: Callable[[Catalog], Projection]
) -> None:
    """Handlers are found by the type's old name too, and see the new class alone."""
    with projector(url, projection(now)) as running:
        running.step(Given(sent(url, STREAM)))

        assert (running.counters.applied, running.counters.unhandled) == (3, 0)
    assert rows(url, "select item, pieces from stock") == EXPECTED


@pytest.mark.parametrize("projection", [table_projection, sql_projection])
def test_a_handled_type_in_a_newer_version_is_parked_and_redriven_by_newer_code(
    url: str, projection: Callable[[Catalog], Projection]
) -> None:
    """It is never skipped; later events wait behind it; code that knows the version applies all of it in order."""
    with psycopg.connect(url) as connection:
        EventStore(newer).append(connection, STREAM, ShelvedAt("ale", 100, "cellar"))
        EventStore(now).append(connection, STREAM, Shelved("ale", 1))
    with projector(url, projection(now)) as running:
        running.step(Given(sent(url, STREAM)))
    assert letters(url) == [(STREAM, 4, "newer schema"), (STREAM, 5, "behind")]
    assert (rows(url, "select item, pieces from stock"), checkpoints(url)) == (EXPECTED, {STREAM: (3, True)})

    with projector(url, projection(next_release())) as running:
        assert running.redrives.retry(STREAM)

    assert rows(url, "select item, pieces from stock") == [("ale", 130)]
    assert (checkpoints(url), letters(url)) == ({STREAM: (5, False)}, [])


def next_release() -> Catalog:
    """Return the catalog of the release after this, which has forgotten the place again."""
    catalog = release(Shelved, version=3, renamed_from="Stored")
    catalog.upcast(Shelved, from_version=1)(lambda data: {"item": data["item"], "pieces": 12 * data["dozens"]})
    catalog.upcast_fields(Shelved, from_version=2)
    return catalog


def test_a_type_that_nobody_handles_passes_in_any_version(url: str) -> None:
    """Producers may add types and versions freely: unhandled events advance the checkpoint and are counted."""
    with psycopg.connect(url) as connection:
        EventStore(release(ShelvedAt, name="Sold", version=9, oldest=9)).append(
            connection, STREAM, ShelvedAt("ale", 1, "shop")
        )
    with projector(url, table_projection(now)) as running:
        running.step(Given(sent(url, STREAM)))

        assert (running.counters.applied, running.counters.unhandled) == (4, 1)
    assert (checkpoints(url), letters(url)) == ({STREAM: (4, False)}, [])


def test_a_missing_step_stops_a_store_and_a_projector_before_their_first_event(url: str) -> None:
    """The error is there when the process starts, not when the first old event comes."""
    broken = release(Shelved, version=2)

    with pytest.raises(CatalogError, match="no upcaster from version 1"):
        EventStore(broken)
    with pytest.raises(CatalogError, match="no upcaster from version 1"), projector(url, table_projection(broken)):
        pass
