"""Stored events of a catalog's own types that its code does not know: nobody would take them in silence."""

from dataclasses import dataclass

import psycopg
import pytest

from eventkit.config import Settings
from eventkit.domain.catalog.catalog import Catalog
from eventkit.errors import CatalogError, RebuildRefused, UnknownEventType
from eventkit.projection.define.table import TableProjection
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from eventkit.projection.run import ProjectionRunner, SourceOptions
from eventkit.storage.events.event_store import EventStore
from eventkit.storage.events.unknown_types import refuse_unknown_types
from tests.projection.shop import TOTALS, Noted, Ordered, apply, message, rows, shop, totals


@dataclass(frozen=True)
class Placed:
    """`Ordered`, as the next release calls it."""

    customer: str
    amount: int


def renamed(*, before: tuple[str, ...] = ()) -> TableProjection:
    """Return the projection of a release that has renamed the class."""
    catalog = Catalog("shop")
    catalog.event(renamed_from=before)(Placed)
    projection = TableProjection("totals", catalog, table=TOTALS, key="customer")

    @projection.on(Placed)
    def placed(row: object, event: Placed) -> None:
        row.orders += 1  # type: ignore[attr-defined]
        row.amount += event.amount  # type: ignore[attr-defined]

    return projection


@pytest.fixture
def filled(url: str) -> str:
    """A store with orders and notes, and the read model of the orders."""
    store = EventStore(shop)
    with psycopg.connect(url) as connection:
        for n in range(3):
            store.append(connection, f"order-{n}", Ordered("ann", 1))
        store.append(connection, "note-1", Noted())
    RebuildRun(totals(), Settings(database_url=url), RebuildPlan()).run()
    return url


def test_a_rebuild_does_not_replace_rows_by_none_in_silence(filled: str) -> None:
    """The class was renamed without `renamed_from`: the old name is named, and the read model stays."""
    with pytest.raises(
        UnknownEventType, match=r"does not know: Noted, Ordered; they would have no effect.*renamed_from"
    ):
        RebuildRun(renamed(), Settings(database_url=filled), RebuildPlan()).run()

    assert rows(filled) == [("ann", 3, 3)]


@pytest.mark.parametrize("from_store", [True, False])
def test_a_projector_does_not_start_either(filled: str, *, from_store: bool) -> None:
    """From the store, or from a transport beside it."""
    settings = Settings(database_url=filled, transport_url="local://unknown-types")

    with pytest.raises(UnknownEventType, match="Ordered"):
        ProjectionRunner(renamed(), settings, SourceOptions(from_store=from_store, topics=("shop.order",))).preflight()


def test_a_name_before_categories_and_retired_types_are_known(filled: str) -> None:
    """Types of other categories do not matter to a projection that says its own; a retired one is left on purpose."""
    of_orders, retiring = renamed(before=("Ordered",)), renamed(before=("Ordered",))
    retiring.catalog.retired("Noted")

    ProjectionRunner(retiring, Settings(database_url=filled), SourceOptions(from_store=True)).preflight()
    RebuildRun(retiring, Settings(database_url=filled), RebuildPlan()).run()
    with psycopg.connect(filled) as connection:
        refuse_unknown_types(connection, "eventkit", of_orders.catalog, categories=["order"])

    assert rows(filled) == [("ann", 3, 3)]


def test_a_type_that_is_read_is_not_retired() -> None:
    """One of the two is a mistake."""
    with pytest.raises(CatalogError, match="'Ordered' is a type of this catalog"):
        shop.retired("Ordered")


def test_an_unknown_type_is_logged_once(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Producers may be ahead of a projector that runs: it passes their new types, and says so."""
    running = apply(url, [message("order-1", v, Noted(), ce_type="Refunded") for v in (1, 2)])

    told = [record.getMessage() for record in caplog.records if "does not know" in record.getMessage()]
    assert told == ["totals passes events of a type that its catalog does not know: 'Refunded'"]
    assert running.counters.unhandled == 2


def test_tombstones_and_other_services_events_are_not_looked_at(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody registers those."""
    tombstone = message("order-1", 1, Noted(), ce_type="eventkit.tombstone")

    apply(url, [tombstone, message("order-1", 2, Noted(), ce_source="bank", ce_type="Booked")])

    assert "does not know" not in caplog.text


def test_the_look_does_not_read_the_events(url: str) -> None:
    """A few steps through an index, with any number of events in between."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)"
            " select gen_random_uuid(), 'shop', 'order-1', n, case n when 90000 then 'Lost' else 'Ordered' end, 1,"
            " '{}', '{}' from generate_series(1, 100000) n"
        )
        connection.execute("analyze eventkit.events")
        before = _read(connection)

        with pytest.raises(UnknownEventType, match="does not know: Lost;"):
            refuse_unknown_types(connection, "eventkit", shop)

        assert _read(connection) - before < 1_000


def _read(connection: psycopg.Connection[tuple[int]]) -> int:
    """Return how many rows of the events were read, by any plan."""
    connection.execute("select pg_stat_force_next_flush()") if connection.info.server_version >= 150000 else None
    row = connection.execute(
        "select seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_user_tables where relname = 'events'"
    ).fetchone()
    return row[0] if row else 0


def test_a_rebuild_from_a_transport_refuses_an_unknown_type(filled: str) -> None:
    """The store here may have none of those events; they are met on the way, before the swap."""
    projection = totals()
    projection.handlers.unknown.append("Refunded")  # as a message would have made it

    with pytest.raises(RebuildRefused, match="Refunded"):
        RebuildRun(projection, Settings(database_url=filled), RebuildPlan()).run()
