"""Projectors on a pruned store, and over tombstones: missing events are reported, given-up events are passed."""

import psycopg
from click.testing import CliRunner

from eventkit.cli import main
from eventkit.storage.dead_letters.actions import TOMBSTONE
from tests.projection.shop import Noted, apply, checkpoints, letters, message, orders, rows, store


def test_a_projector_advances_over_a_tombstone_and_its_late_original_is_a_duplicate(url: str) -> None:
    """It is no event, and is counted as such; the original has the same id."""
    tombstone = message("order-1", 2, Noted(), ce_type=TOMBSTONE)

    done = apply(url, [*orders("order-1", 1), tombstone, *orders("order-1", 1, first=3)], orders("order-1", 1, first=2))

    assert rows(url) == [("ann", 2, 2)]
    assert (checkpoints(url), letters(url)) == ({"order-1": (3, False)}, [])
    assert (done.counters.unhandled, done.counters.duplicates) == (1, 1)


def test_a_gap_that_was_pruned_says_so(url: str) -> None:
    """The letter names the versions, and up to which the store was pruned."""
    with psycopg.connect(url) as connection:
        connection.execute("insert into eventkit.streams (stream, version, pruned_to) values ('order-1', 3, 2)")

    apply(url, orders("order-1", 1, first=3))

    assert rows(url, "select error from eventkit.dead_letters") == [
        ("versions 1 to 2 of order-1 are missing in the transport, and the store was pruned up to version 2",)
    ]


def test_a_projection_that_begins_on_a_pruned_store_is_warned(url: str) -> None:
    """Its read model will lack the pruned events for good."""
    store(url, orders("order-1", 1, first=3))
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into eventkit.prunings (run, category, source, actor, events)"
            " values (gen_random_uuid(), 'order', 'shop', 'ann', 2)"
        )
    arguments = ["projector", "run", "tests.projection.read_models:totals", "--from", "store", "--until-idle", "0.1"]

    told = CliRunner().invoke(main, arguments, env={"EVENTKIT_DATABASE_URL": url})

    assert "begins on a store from which events were pruned (2 of order)" in told.stderr
