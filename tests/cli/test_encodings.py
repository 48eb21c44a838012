"""Output in a locale that is not UTF-8: nothing fails, nothing is lost, and JSON stays JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from eventkit import EventStore
from eventkit.cli import main
from eventkit.domain.message import Message
from eventkit.observability.plain import ESCAPE
from eventkit.storage.dead_letters import DeadLetters, Letter
from tests.projection.shop import Ordered, shop
from tests.servers.postgres import PostgresServer

NAME = "ü-€-日-\U0001f980"
STREAM = shop.stream("order", NAME)
COMMANDS = {  # each with a name, or data, of the letters in NAME
    "events find": ["events", "find", "--stream", STREAM, "--payload"],
    "events tree": ["events", "tree", "{id}", "--payload"],
    "events show": ["events", "show", "{id}", "--payload"],
    "dead-letters list": ["dead-letters", "list"],
    "dead-letters show": ["dead-letters", "show", "1", "--payload"],
    "projection list": ["projection", "list"],
    "timers list": ["timers", "list"],
}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> Iterator[str]:
    """A database whose streams, events, letters, projections and deadlines have such a name."""
    url = postgres.fresh()
    with psycopg.connect(url) as session:
        EventStore(shop).append(session, STREAM, Ordered(NAME, 1))
        ((event_id,),) = session.execute("select id from eventkit.events").fetchall()
        session.execute("insert into eventkit.projections (name, declared_version) values (%s, 1)", (NAME,))
        session.execute(
            "insert into eventkit.timers (event_id, stream, name, due_at, source, type, schema_version, data, metadata,"
            " topic, shard) values (gen_random_uuid(), %s, %s, %s, 'shop', %s, 1, '{}', '{}', 'x', 0)",
            (STREAM, NAME, datetime(2026, 1, 1, tzinfo=UTC), NAME),
        )
        message = Message("shop.order", STREAM, NAME, [("x", NAME)])
        letter = Letter(1, event_id, NAME, "failed", NAME, 1, message, NAME)
        DeadLetters("eventkit").keep(session, "projection:totals:1", STREAM, [letter])
    IDS[:] = [str(event_id)]
    yield url
    postgres.drop(url)


IDS: list[str] = []


def run(url: str, command: str, encoding: str, *more: str) -> Result:
    """Run a command with stdout and stderr of an encoding."""
    words = [word.replace("{id}", IDS[0]) for word in COMMANDS[command]]
    return CliRunner(charset=encoding).invoke(main, [*words, *more], env={"EVENTKIT_DATABASE_URL": url})


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("command", COMMANDS)
def test_characters_that_an_encoding_lacks_are_escaped(url: str, command: str, encoding: str) -> None:
    """In the form of JSON, also in the text for people."""
    done = run(url, command, encoding)

    assert (done.exit_code, done.stderr_bytes) == (0, b"")
    assert NAME.encode(encoding, ESCAPE) in done.stdout_bytes


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", COMMANDS)
def test_json_stays_json_in_any_encoding(url: str, command: str, encoding: str) -> None:
    """A program reads the name as it is."""
    done = run(url, command, encoding, "--json")

    assert done.exit_code == 0
    assert NAME in json.dumps(json.loads(done.stdout_bytes.decode(encoding)), ensure_ascii=False)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "settings",
    [
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1:replace"},
    ],
    ids=["POSIX", "ascii", "latin-1"],
)
def test_results_and_errors_of_a_process_are_complete(url: str, settings: dict[str, str], form: str) -> None:
    """Its stdout and its stderr are those of the locale; the word for a name that is not there comes back."""
    encoding = "latin-1" if "latin-1" in repr(settings) else "ascii"
    given = {**os.environ, "EVENTKIT_DATABASE_URL": url, **settings}
    command = [sys.executable, "-m", "eventkit.cli", "--log-format", form]
    listed = subprocess.run([*command, "projection", "list"], cwd=ROOT, env=given, capture_output=True, check=False)
    missing = [*command, "projection", "status", f"no {NAME}"]
    failed = subprocess.run(missing, cwd=ROOT, env=given, capture_output=True, check=False)

    assert (listed.returncode, listed.stderr) == (0, b"")
    assert NAME.encode(encoding, ESCAPE) in listed.stdout
    assert failed.returncode in (1, 2)
    said = failed.stderr.decode(encoding)
    if "LC_ALL" in settings:
        assert "cannot be read in this locale (ascii): set LC_ALL=C.UTF-8" in said
    elif form == "json":
        assert NAME in json.loads(said)["message"]
    else:
        assert NAME.encode(encoding, ESCAPE).decode(encoding) in said
