"""`eventkit events show | find | tail | tree`: found by any key, masked, harmless to a terminal."""

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from eventkit import EventStore
from tests.cli.busy_system import EVIL, SECRET, STORY, fill
from tests.cli.terminal import ROOT, STYLES, in_terminal
from tests.cli.test_status import run
from tests.projection.run.test_running import environment
from tests.projection.shop import Left, Ordered, shop
from tests.servers.postgres import PostgresServer
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> Iterator[str]:
    """A database with a story of three events, and one of a hostile producer."""
    url = postgres.fresh()
    IDS[:] = fill(url)
    yield url
    postgres.drop(url)


IDS: list[str] = []
CHOICES: list[tuple[list[str], list[int]]] = [
    ([], [3, 2, 1, 0]),
    (["--stream", "order-1"], [1]),
    (["--type", "Ordered"], [2, 1, 0]),
    (["--category", "visit"], [3]),
    (["--correlation", STORY], [2, 1, 0]),
    (["--since", "1h", "--category", "order"], [2, 1, 0]),
    (["--since", "2020-01-01T00:00", "--until", "2020-01-02"], []),
    (["--type", "Ordered", "--limit", "2"], [2, 1]),
]


def told(url: str, *words: str) -> Any:  # noqa: ANN401 JSON
    """Run a command and read its JSON."""
    done = run(url, "events", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("words", "expected"), CHOICES, ids=lambda value: " ".join(map(str, value)))
def test_events_are_found_by_each_key_the_newest_first(url: str, words: list[str], expected: list[int]) -> None:
    """All conditions have to hold."""
    found = told(url, "find", *words)

    assert [event["id"] for event in found["events"]] == [IDS[number] for number in expected]


def test_a_search_goes_on_where_it_has_ended(url: str) -> None:
    """The key of a search is in its JSON, and in the remark below its table."""
    first = told(url, "find", "--type", "Ordered", "--limit", "2")

    rest = told(url, "find", "--type", "Ordered", "--after", first["next"])

    assert [event["id"] for event in rest["events"]] == [IDS[0]]
    assert rest["next"] is None
    assert f"--after {first['next']}" in run(url, "events", "find", "--type", "Ordered", "--limit", "2").stderr
    wrong = run(url, "events", "find", "--after", "x")
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_an_event_is_shown_masked_and_in_full_on_request(url: str) -> None:
    """The names of the fields are the code's, their values may be personal."""
    masked, full = told(url, "show", IDS[1]), told(url, "show", IDS[1], "--payload")

    assert masked["data"] == {"customer": "***", "amount": "***"}
    assert masked["metadata"] == {"user": "***"}
    assert (full["data"], full["metadata"]) == ({"customer": SECRET, "amount": 1}, {"user": SECRET})
    assert (masked["causation_id"], masked["correlation_id"], masked["is_unsent"]) == (IDS[0], STORY, True)


@pytest.mark.parametrize("command", ["show", "tree"])
@pytest.mark.parametrize("wrong", [str(uuid.UUID(int=9)), "order-1"])
def test_an_event_that_is_not_there_is_one_sentence(url: str, command: str, wrong: str) -> None:
    """An id of another store, or no id at all."""
    done = run(url, "events", command, wrong)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"eventkit: there is no event '{wrong}' in this store")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["find", "--stream", "foo"], 2, "'foo' is no stream id"),
        (["find", "--category", "nope"], 0, "no stream of category 'nope' is in the store: there are order"),
        (["find", "--type", "Nope"], 0, "no event of type 'Nope' is in the store: there are "),
        (["show", "abc"], 1, "an event's id is a UUID"),
        (["tail", "--after", "x"], 2, "'x' is no whole number"),
    ],
)
def test_a_name_that_nothing_has_is_said(url: str, words: list[str], code: int, said: str) -> None:
    """It does not look as if there were no events."""
    done = run(url, "events", *words)

    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_an_event_in_full_says_yes_or_no(url: str) -> None:
    """Whether it is sent, and amended; a script reads the names of the insights."""
    lines = [line.split() for line in run(url, "events", "show", IDS[1]).stdout.splitlines()]

    assert ["sent", "no"] in lines
    assert ["amended", "no"] in lines


def test_a_tree_has_the_effects_below_their_causes(url: str) -> None:
    """From the event on, or from its first cause."""
    below = told(url, "tree", IDS[1])["events"]
    whole = told(url, "tree", IDS[2], "--from-first")["events"]

    assert [(node["depth"], node["id"]) for node in below] == [(0, IDS[1]), (1, IDS[2])]
    assert [(node["depth"], node["id"]) for node in whole] == [(0, IDS[0]), (1, IDS[1]), (2, IDS[2])]
    lines = run(url, "events", "tree", IDS[0]).stdout.splitlines()
    assert [len(line) - len(line.lstrip()) for line in lines] == [0, 2, 4]


def test_nothing_of_a_producer_steers_the_terminal_and_no_data_is_shown_unasked(url: str) -> None:
    """In tables, in full, in trees and in JSON; the payload is escaped, too."""
    for words in (["find"], ["find", "--json"], ["show", IDS[3]], ["tree", IDS[3]]):
        screens = [run(url, "events", *words).stdout, STYLES.sub("", in_terminal(url, "events", *words))]
        screens.append(run(url, "events", *words, "--payload").stdout)
        for screen in screens:
            assert EVIL not in screen
            assert [sign for sign in screen if not sign.isprintable() and sign not in "\n\r"] == []
        assert [SECRET in screen for screen in screens] == [False, False, True]


def test_the_table_fits_eighty_columns(url: str) -> None:
    """Long names are folded, and none is cut."""
    screen = STYLES.sub("", in_terminal(url, "events", "find"))

    assert [line for line in screen.split("\n") if len(line) > 80] == []
    assert IDS[0][:13] in screen


def tailing(url: str, *words: str) -> "subprocess.Popen[str]":
    """Start to follow the events."""
    command = [sys.executable, "-m", "eventkit.cli", "events", "tail", *words]
    return subprocess.Popen(
        command, env=environment(url), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def append(url: str, stream: str, *events: object) -> None:
    """Append events."""
    with psycopg.connect(url) as connection:
        EventStore(shop).append(connection, shop.stream("order", stream), *events)


def test_new_events_are_shown_as_they_are_committed(database_url: str) -> None:
    """Those that are chosen, masked, one JSON object a line; SIGTERM ends it with 0."""
    append(database_url, "1", Ordered("ann", 1))
    with tailing(database_url, "--after", "0", "--type", "Ordered", "--json") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        append(database_url, "1", Left("ann"), Ordered("ann", 2))
        second = json.loads(process.stdout.readline())

        process.send_signal(signal.SIGTERM)

        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest, errors) == (0, "", "")
    assert [(each["stream"], each["version"]) for each in (first, second)] == [("order-1", 1), ("order-1", 3)]
    assert second["data"] == {"customer": "***", "amount": "***"}


def test_a_tail_begins_now_and_ends_after_a_count(database_url: str) -> None:
    """Without a position it shows the events that come; with --count it ends by itself."""
    append(database_url, "1", Ordered("ann", 1))
    with tailing(database_url, "--count", "2", "--payload") as process:
        wait_until(lambda: _subscribes(database_url), what="the subscription")
        append(database_url, "2", Ordered("bob", 1), Ordered("bob", 2), Ordered("bob", 3))
        shown, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, "")
    assert [line.split("  ")[1:4] for line in shown.splitlines()] == [
        ["order-2", "1", "Ordered"], ["order-2", "2", "Ordered"]
    ]  # fmt: skip
    assert '"customer": "bob"' in shown


def test_a_reader_that_leaves_ends_the_tail(database_url: str) -> None:
    """As in `eventkit events tail | head -1`: no stack, and no process is left."""
    append(database_url, "1", Ordered("ann", 1))
    with tailing(database_url, "--after", "0") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()

        def ended() -> bool:
            append(database_url, "1", Ordered("ann", 1))
            return process.poll() is not None

        wait_until(ended, what="the end of the tail")
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def _subscribes(url: str) -> bool:
    """Return whether a subscription has read once."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select count(*) from pg_stat_activity where application_name like '%subscribe%'"
            " and datname = current_database() and state = 'idle' and query ilike '%with found%'"
        ).fetchone()
    return found is not None and found[0] > 0
