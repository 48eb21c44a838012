"""`eventkit status`: one screen, live or as JSON, in any terminal, and nothing of a producer's steers it."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from rich.console import Console, Group

from eventkit.cli.status.screen import fitted
from eventkit.insights import Attention
from eventkit.storage.pauses import Pauses
from tests.cli.busy_system import EVIL, SECRET, fill
from tests.cli.terminal import ROOT, STYLES, Terminal, in_terminal
from tests.projection.run.test_running import environment
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> Iterator[str]:
    """A database in which everything goes on at once."""
    url = postgres.fresh()
    fill(url)
    yield url
    postgres.drop(url)


def run(url: str, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "eventkit.cli", *words],
        env={**environment(url), **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_one_screen_has_every_part_of_the_system(url: str) -> None:
    """Each part with its own heading, also where it is empty."""
    done = run(url, "status")

    assert done.returncode == 0, done.stderr
    for heading in ("RELAY", "PROJECTIONS", "DEAD LETTERS", "DEADLINES", "PROCESSES"):
        assert heading in done.stdout
    assert "topic shop.visit paused by" in done.stdout
    assert "paused by ann" in done.stdout
    assert "gone" in done.stdout
    assert "see docs/troubleshooting.md#" in done.stdout


def test_an_empty_system_is_shown_too(database_url: str) -> None:
    """The first command of someone who has just made the tables."""
    done = run(database_url, "status")

    assert done.returncode == 0, done.stderr
    assert "0 unsent" in done.stdout
    assert "PROJECTIONS  none" in done.stdout


def test_the_json_has_the_answers_of_the_insights(url: str) -> None:
    """A script reads names, amounts and times."""
    found: dict[str, Any] = json.loads(run(url, "status", "--json", "--limit", "1").stdout)

    assert [item["name"] for item in found["projections"]] == ["board"]
    assert found["more"] == ["projections", "processes"]
    assert found["relay"]["unsent"] == {"value": 3, "is_exact": True}
    assert found["relay"]["paused_topics"][0]["name"] == "shop.visit"
    assert set(found) == {
        "at", "attention", "relay", "projections", "dead_letters", "timers", "processes", "more"
    }  # fmt: skip


def test_the_process_of_a_projection_is_named_in_a_short_list_too(database_url: str) -> None:
    """The list of processes is cut; its names are known all the same."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """insert into eventkit.projections (name, kind, catalog, declared_version, server, position)
               values ('board', 'table projection', 'shop', 1, 'x', 0)"""
        )
        connection.execute(
            """insert into eventkit.processes (id, role, name, host, pid, version, started_at, seen_at, state)
               select gen_random_uuid(), 'projector', name, 'db-1', 18, '0.1', now(), now() + interval '1 day',
                      jsonb_build_object('projections', jsonb_build_object(name, jsonb_build_object()))
                 from (values ('another'), ('board')) p(name)"""
        )

    screen = run(database_url, "status", "--limit", "1").stdout

    (row,) = [line for line in screen.split("\n") if line.startswith("board ")]
    assert "db-1:18" in row.split()


@pytest.mark.parametrize("count", [2, 5, 30])
def test_a_screen_that_is_too_low_says_how_many_faults_it_leaves_out(count: int) -> None:
    """The most urgent ones are shown in full, the next ones by their titles."""
    item = Attention(
        urgency="critical", code="no_relay", title="No relay runs", text="Nobody sends. " * 30, since=None,
        subject="relay", action="eventkit relay run", link="docs/troubleshooting.md#no-relay-runs",
    )  # fmt: skip
    console = Console(width=80, height=24)
    parts = fitted([item] * count, console)

    text = "\n".join("".join(part.text for part in line) for line in console.render_lines(Group(*parts), pad=False))
    shown = text.count("No relay runs")
    assert len(text.split("\n")) <= 21
    assert (f"and {count - shown} more: eventkit status" in text) is (shown < count)
    assert ("in full: eventkit status" in text) is (text.count("$ ") < count == shown)


@pytest.mark.parametrize("columns", [80, 40])
def test_the_screen_fits_the_terminal(url: str, columns: int) -> None:
    """Long texts are folded, and none is cut."""
    screen = STYLES.sub("", in_terminal(url, "status", columns=columns))

    assert [line for line in screen.split("\n") if len(line) > columns] == []
    assert "PROCESSES" in screen


def test_without_a_terminal_no_line_is_folded(url: str) -> None:
    """A pipe has no width: each row is one line, with all that is in it."""
    done = run(url, "status", COLUMNS="40")

    (row,) = [line for line in done.stdout.split("\n") if line.startswith("totals") and "paused by ann" in line]
    assert row.rstrip().endswith("[bold]")


def test_sentences_in_a_pipe_are_wrapped_where_a_width_is_given(url: str) -> None:
    """At `COLUMNS`; nothing is padded, and the reason of a held topic is said once."""
    done = run(url, "status", COLUMNS="60")
    texts = [line for line in done.stdout.split("\n") if line.startswith(" " * 10) and "$ " not in line]

    assert len(texts) > 10
    assert max(map(len, texts)) <= 60
    assert [line for line in done.stdout.split("\n") if line != line.rstrip()] == []
    assert done.stdout.count("The relay sends nothing to shop.order") == 1
    assert "nobody runs it" in done.stdout


def test_a_terminal_may_ask_for_no_escape_sequences(url: str) -> None:
    """With colours there are some, without there are none at all."""
    assert "\x1b[" in in_terminal(url, "status")
    assert "\x1b" not in in_terminal(url, "status", NO_COLOR="1")
    assert "\x1b" not in in_terminal(url, "status", TERM="dumb")


@pytest.mark.parametrize("words", [["status"], ["status", "--json"]])
def test_no_text_of_another_process_steers_the_terminal(url: str, words: list[str]) -> None:
    """Names, reasons and errors are escaped; a text in brackets is no markup."""
    screens = [run(url, *words).stdout, STYLES.sub("", in_terminal(url, *words))]

    for screen in screens:
        assert "[bold]" in screen.replace("\n", "").replace(" ", "")
        assert EVIL not in screen
        assert [sign for sign in screen if not sign.isprintable() and sign not in "\n\r"] == []
        assert SECRET not in screen


def test_watching_shows_each_change_until_it_is_asked_to_end(database_url: str) -> None:
    """The screen is drawn again; Ctrl-C ends it with exit code 0, and the terminal is as it was."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("insert into eventkit.topics values ('shop.order')")
        with Terminal(database_url, "status", "--watch", "0.2") as terminal:
            terminal.shows("nothing needs you")
            Pauses(connection, "eventkit").pause("topic", "shop.order", actor="ann")
            terminal.shows("topic shop.order paused by ann")
            terminal.process.send_signal(signal.SIGINT)

            assert terminal.ended() == 0
            assert terminal.text().rstrip().endswith(("\x1b[?25h", "\x1b[?1049l"))


def test_watching_outlives_a_database_that_is_away(postgres: PostgresServer, database_url: str) -> None:
    """It says why the screen is old, and goes on when the database is back."""
    name = database_url.rpartition("/")[2].partition("?")[0]
    words = [sys.executable, "-m", "eventkit.cli", "status", "--watch", "0.2", "--json"]
    with (
        psycopg.connect(postgres.url, autocommit=True) as admin,
        subprocess.Popen(
            words, env=environment(database_url), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["relay"]
        admin.execute(f'alter database "{name}" allow_connections false'.encode())
        assert process.stderr.readline().startswith("not up to date: ")
        admin.execute(f'alter database "{name}" allow_connections true'.encode())
        assert all(json.loads(process.stdout.readline())["relay"] for _ in range(10))
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 0
