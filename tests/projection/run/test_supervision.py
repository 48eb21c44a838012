"""A projection's failure is its own: it waits and names the cause, and the others of its process continue."""

import subprocess
import sys

import psycopg
import pytest

from tests.projection.run.test_running import MODELS, ROOT, environment, run, running
from tests.projection.shop import letters, orders, rows, store
from tests.waiting import wait_until

FIRST = "select coalesce(sum(version), 0) from eventkit.checkpoints join eventkit.projections using (generation)"


def applied(url: str, name: str) -> int:
    """Return how many events a projection has applied."""
    [(count,)] = rows(url, f"{FIRST} where name = '{name}'")
    return int(count)


def eventkit(url: str, *words: str) -> None:
    """Run a command to its end."""
    subprocess.run(
        [sys.executable, "-m", "eventkit.cli", *words], env=environment(url), cwd=ROOT, check=True, timeout=60
    )


@pytest.mark.parametrize("troubled", ["newer", "absent"], ids=["its rebuild is due", "its table is missing"])
def test_a_projection_that_cannot_begin_waits_and_begins_when_it_can(url: str, troubled: str) -> None:
    """The other one applies meanwhile; a repaired projection starts by itself."""
    run(url, f"{MODELS}:totals", "--from", "store", "--until-idle", "0.3")
    store(url, orders("order-1", 5))

    with running(environment(url), f"{MODELS}:{troubled}", f"{MODELS}:first", "--from", "store") as process:
        wait_until(lambda: applied(url, "first") == 5, timeout=60)
        if troubled == "newer":
            eventkit(url, "projection", "rebuild", f"{MODELS}:newer", "--workers", "1")
        else:
            with psycopg.connect(url) as connection:
                connection.execute("create table absent (like totals including all)")
        name = {"newer": "totals"}.get(troubled, troubled)
        store(url, orders("order-1", 5, first=6))
        wait_until(lambda: applied(url, name) == applied(url, "first") == 10, timeout=60)
        process.terminate()
        _, log = process.communicate(timeout=60)

    assert process.returncode == 0
    assert log.count(" waits: ") == 1, log


def test_a_swap_to_a_newer_version_ends_no_other_projection(url: str) -> None:
    """The old code waits, and says which version is to be started in its place."""
    store(url, orders("order-1", 5))
    with running(environment(url), f"{MODELS}:totals", f"{MODELS}:first", "--from", "store") as process:
        wait_until(lambda: applied(url, "totals") == applied(url, "first") == 5, timeout=60)
        eventkit(url, "projection", "rebuild", f"{MODELS}:newer", "--workers", "1")
        store(url, orders("order-1", 5, first=6))
        wait_until(lambda: applied(url, "first") == 10, timeout=60)
        process.terminate()
        _, log = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "start the code of version 2 instead" in log


def test_a_column_that_goes_under_a_running_projector_parks_nothing(url: str) -> None:
    """It stops with a sentence, and continues by itself when the column is back."""
    store(url, orders("order-1", 5))
    with running(environment(url), f"{MODELS}:totals", "--from", "store") as process:
        wait_until(lambda: applied(url, "totals") == 5, timeout=60)
        with psycopg.connect(url) as connection:
            connection.execute("alter table totals rename amount to was")
        store(url, [event for number in range(20) for event in orders(f"order-2.{number}", 1)])
        wait_until(lambda: process.poll() is not None or _waits(url), timeout=60)
        with psycopg.connect(url) as connection:
            connection.execute("alter table totals rename was to amount")
        wait_until(lambda: applied(url, "totals") == 25, timeout=60)
        process.terminate()
        _, log = process.communicate(timeout=60)

    assert letters(url) == []
    assert rows(url) == [("ann", 25, 25)]
    assert log.count(" waits: ") == 1, log


def _waits(url: str) -> bool:
    """Whether the projector is between two terms, or in one of its next: its sessions are newer than the events."""
    [(count,)] = rows(
        url,
        "select count(*) from pg_stat_activity, (select max(recorded_at) as at from eventkit.events) e"
        " where datname = current_database() and application_name = 'eventkit projector totals' and backend_start > at",
    )
    return bool(count)


def test_until_idle_with_a_stopped_projection_ends_with_1(url: str) -> None:
    """The others have finished by then; the sentence has the remedy."""
    store(url, orders("order-1", 5))

    done = run(url, f"{MODELS}:absent", f"{MODELS}:first", "--from", "store", "--until-idle", "1")

    assert done.returncode == 1
    assert applied(url, "first") == 5
    assert done.stderr.splitlines()[-1].startswith("eventkit: table 'absent' of projection 'absent' does not exist")


@pytest.mark.parametrize("when", ["at the start", "later"])
def test_exit_on_rebuild_ends_with_1(url: str, when: str) -> None:
    """For those whose supervisor starts the right code."""
    run(url, f"{MODELS}:totals", "--from", "store", "--until-idle", "0.3")
    if when == "at the start":
        done = run(url, f"{MODELS}:newer", f"{MODELS}:first", "--from", "store", "--exit-on-rebuild")
        assert (done.returncode, "live is version 1" in done.stderr) == (1, True)
        return
    with running(
        environment(url), f"{MODELS}:totals", f"{MODELS}:first", "--from", "store", "--exit-on-rebuild"
    ) as old:
        wait_until(lambda: rows(url, "select count(*) from eventkit.leases where epoch > 1") == [(1,)], timeout=60)
        eventkit(url, "projection", "rebuild", f"{MODELS}:newer", "--workers", "1")
        store(url, orders("order-1", 5))
        assert old.wait(60) == 1


def test_a_deleted_projection_ends_alone_and_is_not_created_again(url: str) -> None:
    """The other keeps running; where none is left, the process ends with 1."""
    store(url, orders("order-1", 5))
    with running(environment(url), f"{MODELS}:totals", f"{MODELS}:first", "--from", "store") as process:
        wait_until(lambda: applied(url, "totals") == applied(url, "first") == 5, timeout=60)
        eventkit(url, "projection", "delete", "totals", "--yes")
        store(url, orders("order-1", 5, first=6))
        wait_until(lambda: applied(url, "first") == 10, timeout=60)
        eventkit(url, "projection", "delete", "first", "--yes")
        store(url, orders("order-1", 5, first=11))
        assert process.wait(60) == 1

    assert rows(url, "select count(*) from eventkit.projections") == [(0,)]
