"""`eventkit projection list | status | delete`, on a database with a shop's read model in it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventkit.errors import VersionMismatch
from eventkit.storage.projections.registry import ProjectionRegistry
from tests.projection.run.test_running import environment
from tests.projection.shop import CREATE, Ordered, apply, letters, message, orders, projector, rows, store, totals

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(database_url: str) -> str:
    """A database with eventkit's tables and the read model's."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    return database_url


def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    words = [sys.executable, "-m", "eventkit.cli", "projection", *arguments]
    return subprocess.run(
        words, env=environment(url), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def told(url: str, *arguments: str) -> Any:  # noqa: ANN401 JSON
    """Run it and read its JSON."""
    done = run(url, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def record(url: str, stream: str, count: int, *, first: int = 1) -> None:
    """Record so many orders in the store, and their stream's version."""
    store(url, orders(stream, count, first=first))
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into eventkit.streams values (%s, %s)"
            " on conflict (stream) do update set version = excluded.version",
            (stream, first + count - 1),
        )


def test_a_list_shows_live_versions_lag_and_parked_streams(url: str) -> None:
    """Lag is counted in events of the categories that the projection reads, without parked streams."""
    record(url, "order-1", 5)
    record(url, "order-2", 3)
    record(url, "visit-1", 9)
    apply(url, orders("order-1", 2), [message("order-3", 1, Ordered("eve", -1))])
    record(url, "order-3", 1)

    (found,) = told(url, "list")
    assert (found["name"], found["version"], found["tables"]) == ("totals", 1, ["public.totals"])
    assert (found["streams"], found["parked"], found["letters"]) == (2, 1, {"failed": 1})
    assert (found["lag"]["events"], found["lag"]["streams"], found["building"]) == (6, 2, None)
    assert 0 < found["lag"]["seconds"] < 60
    assert "totals" in run(url, "list").stdout


def test_a_status_shows_one_projection_and_refuses_unknown_names(url: str) -> None:
    """A name that is not there is one sentence, with those that are."""
    apply(url, orders("order-1", 2))

    assert "totals: version 1, generation 1" in run(url, "status", "totals").stdout
    wrong = run(url, "status", "sums")

    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == "eventkit: no projection 'sums' in this database: there are totals\n"


def test_a_pause_is_shown_where_projections_are(url: str) -> None:
    """In the list, in the status and in their JSON; a second pause says who was first."""
    apply(url, orders("order-1", 2))
    with psycopg.connect(url) as connection:
        connection.execute("update eventkit.projections set server = 'x'")

    made = told(url, "pause", "totals", "--as", "ann", "--reason", "a wrong price")
    again = run(url, "pause", "totals", "--as", "bob")

    assert (made["changed"], made["pause"]["paused_by"]) == (True, "ann")
    assert again.returncode == 0
    assert again.stdout.startswith("projection totals is paused already by ann (")
    assert "paused by ann" in run(url, "list").stdout
    assert "paused    by ann (" in run(url, "status", "totals").stdout
    assert told(url, "list")[0]["paused"]["reason"] == "a wrong price"
    assert run(url, "resume", "totals").stdout.startswith("projection totals is resumed; it was paused by ann (")
    assert told(url, "list")[0]["paused"] is None
    assert told(url, "resume", "totals") == {"kind": "projection", "name": "totals", "changed": False, "pause": None}


def test_a_deleted_projection_leaves_nothing_and_its_projector_applies_nothing_more(url: str) -> None:
    """Row, checkpoints and letters go in one transaction; a projector that runs finds no row behind its fence."""
    with projector(url) as running:
        running.apply([*orders("order-1", 2), message("order-2", 1, Ordered("eve", -1))])

        done = told(url, "delete", "totals", "--yes")

        with pytest.raises(VersionMismatch, match="not registered any more"):
            running.apply(orders("order-1", 1, first=3))
    assert (done["name"], done["letters"], done["dropped"]) == ("totals", 1, False)
    assert rows(url, "select 1 from eventkit.projections union all select 1 from eventkit.checkpoints") == []
    assert (letters(url), rows(url)) == ([], [("ann", 2, 2)])


def test_a_deletes_tables_are_dropped_on_request_unless_something_needs_them(url: str) -> None:
    """An object that depends on a table keeps the whole projection, and is named."""
    apply(url, orders("order-1", 2))
    with psycopg.connect(url) as connection:
        connection.execute("create view big as select * from totals where amount > 100")

    kept = run(url, "delete", "totals", "--tables", "--yes")
    with psycopg.connect(url) as connection:
        connection.execute("drop view big")
    gone = run(url, "delete", "totals", "--tables", "--yes")

    assert (kept.returncode, gone.returncode) == (1, 0)
    assert "view big depends on table totals" in kept.stderr
    assert "public.totals are dropped" in gone.stdout
    assert rows(url, "select to_regclass('totals')::text") == [(None,)]


def test_a_delete_names_the_session_that_holds_the_projection(url: str) -> None:
    """It waits for batches in flight as long as its lock timeout says."""
    apply(url, orders("order-1", 2))
    with psycopg.connect(url, application_name="a batch") as batch:
        ProjectionRegistry("eventkit").fence(batch, "totals")

        held = run(url, "delete", "totals", "--yes")

    assert held.returncode == 1
    assert "(a batch), idle in transaction" in held.stderr


def test_another_version_asks_for_its_rebuild(url: str) -> None:
    """Two folds are never mixed; each side gets the remedy."""
    apply(url, orders("order-1", 2))

    with pytest.raises(VersionMismatch, match=r"until it is rebuilt: run `eventkit projection rebuild package\.module"):
        apply(url, projection=totals(version=2))
    with psycopg.connect(url) as connection:
        connection.execute("update eventkit.projections set declared_version = 2")
    with pytest.raises(VersionMismatch, match="start the code of version 2 instead"):
        apply(url)
