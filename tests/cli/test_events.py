"""`eventkit events`: events present, prunable and pruned; nothing without confirmation."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eventkit.cli import main
from tests.storage.pruned import append, maintenance_role, project, register, send, there

PRUNE = ("prune", "--sent", "--older-than", "0s")


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    """Two streams: four events that everybody has had, one unsent, two that a projection has not applied."""
    register(database_url, "totals")
    append(database_url, "a", 5)
    append(database_url, "b", 2)
    send(database_url, "a", to=4)
    send(database_url, "b")
    project(database_url, "totals", "a")
    with maintenance_role(database_url):
        yield database_url


def run(url: str, *arguments: str, answer: str = "") -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["events", *arguments], env={"EVENTKIT_DATABASE_URL": url}, input=answer)


def test_a_dry_run_counts_and_lists_remaining_events(url: str) -> None:
    """By category, with the projections that are waited for."""
    shown = run(url, *PRUNE, "--dry-run")

    first, second, last = shown.output.splitlines()
    assert first == "order: 4 events can go, 1 are unsent, 2 are not applied everywhere"
    assert second.startswith("projections that have not applied everything: totals (--ignore-projection")
    assert last == "would prune 4 events; nothing was done"
    assert there(url) == {"order-a": [1, 2, 3, 4, 5], "order-b": [1, 2]}


def test_pruning_asks_with_the_count_and_names_its_blind_spots(url: str) -> None:
    """A no does nothing, --yes is for scripts."""
    refused = run(url, *PRUNE, answer="n\n")

    assert "Prune 4 events? Projections in other databases cannot be seen from here" in refused.output
    assert refused.exit_code == 1
    done = run(url, *PRUNE, "--yes", "--batch", "3", "--as", "ann")
    assert done.stdout.splitlines()[-1] == "4 events pruned"
    assert there(url) == {"order-a": [5], "order-b": [1, 2]}


def test_a_script_gets_one_object(url: str) -> None:
    """The number of pruned events, and of the remaining ones."""
    shown = run(url, *PRUNE, "--yes", "--json", "--category", "order", "--ignore-projection", "totals")

    assert json.loads(shown.stdout) == {
        "dry_run": False,
        "pruned": 6,
        "more": False,
        "categories": [{"category": "order", "prunable": 6, "unsent": 1, "unapplied": 0}],
    }
    assert json.loads(run(url, *PRUNE, "--json", "--category", "cart").stdout)["pruned"] == 0


def test_sent_and_an_age_are_required(url: str) -> None:
    """Pruning is no command to call with nothing."""
    assert run(url, "prune", "--older-than", "1d").exit_code == 2
    assert run(url, "prune", "--sent").exit_code == 2
    assert "is no age" in run(url, "prune", "--sent", "--older-than", "old").stderr


def test_sizes_show_each_table_the_oldest_event_and_the_backlog(url: str) -> None:
    """For a person, and for a script."""
    shown = run(url, "sizes")
    found = json.loads(run(url, "sizes", "--json").output)

    assert shown.output.splitlines()[0].split() == ["table", "rows", "(about)", "size", "dead", "rows"]
    assert "1 event unsent, the oldest for" in shown.output
    assert {"events", "outbox", "streams"} <= {table["name"] for table in found["tables"]}
    assert set(found["tables"][0]) == {"name", "rows", "bytes", "dead_rows"}
    assert (found["unsent"], found["oldest_event"] is None) == (1, False)


def test_archive_and_restore(url: str, tmp_path: Path) -> None:
    """The file is JSON lines, and the store has its events again."""
    send(url, "a")
    file = tmp_path / "a.jsonl"

    closed = run(url, "archive", "order-a", "--to", str(file), "--yes")

    assert closed.output == f"5 events of 1 stream are in {file}, and closed\n"
    assert [json.loads(line)["version"] for line in file.read_text().splitlines()] == [1, 2, 3, 4, 5]
    assert there(url) == {"order-b": [1, 2]}
    assert run(url, "restore", str(file)).output == "order-a is open again\n"
    assert there(url) == {"order-a": [1, 2, 3, 4, 5], "order-b": [1, 2]}
    assert "is not closed" in run(url, "restore", str(file)).stderr
