"""`eventkit dead-letters`: one form for all letters, nothing done to more than was confirmed, the payload masked."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from eventkit.cli import main
from eventkit.errors import ProjectionError
from eventkit.projection.retry_policy import Backoff
from eventkit.projection.run.runner import ProjectionRunner
from eventkit.storage.dead_letters.redrive import RedriveRequests
from tests.projection.shop import CREATE, Ordered, apply, checkpoints, letters, message, orders, projector, rows

MENDED = "tests.projection.read_models:mended"
SECRET = Ordered("eve@example.org", -1)
RELAYS = """with e as (
  insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
  values (gen_random_uuid(), 'shop', 'cart-1', 1, 'Filled', 1, '{"by": "eve@example.org"}', '{}')
  returning *), o as (
  insert into eventkit.outbox (position, topic, shard, bytes) select position, 'shop.cart', 0, 9 from e)
insert into eventkit.dead_letters (parked_by, stream, version, position, event_id, type, cause, error, attempts)
select 'relay', stream, version, position, id, type, 'refused', 'message too large', 1 from e"""


@pytest.fixture
def url(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two streams parked by a projection, of three letters and one, and one by the relay."""
    monkeypatch.setattr(Backoff, "pause", lambda _, attempt: 0.001 * attempt)
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
        connection.execute(RELAYS)
    apply(database_url, [message("order-1", 1, SECRET), *orders("order-1", 2, first=2), message("order-2", 1, SECRET)])
    return database_url


def run(url: str, *arguments: str, answer: str = "") -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["dead-letters", *arguments], env={"EVENTKIT_DATABASE_URL": url}, input=answer)


def test_the_list_has_a_projections_letters_and_the_relays_in_one_form(url: str) -> None:
    """The projection or relay that parked it, with place, reason, attempts and time."""
    shown = run(url, "list")

    lines = shown.output.splitlines()
    assert lines[0].split() == ["id", "parked", "by", "stream", "version", "type", "cause", "tries", "age", "error"]
    assert [line.split()[1:6] for line in lines[1:]] == [
        ["projection:totals:1", "order-1", "1", "Ordered", "failed"],
        ["projection:totals:1", "order-1", "2", "Ordered", "behind"],
        ["projection:totals:1", "order-1", "3", "Ordered", "behind"],
        ["projection:totals:1", "order-2", "1", "Ordered", "failed"],
        ["relay", "cart-1", "1", "Filled", "refused"],
    ]


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (["--by", "relay"], 1),
        (["--by", "totals"], 4),
        (["--stream", "order-1"], 3),
        (["--category", "order"], 4),
        (["--type", "Filled"], 1),
        (["--cause", "failed"], 2),
        (["--older-than", "1d"], 0),
        (["--newer-than", "36h"], 5),
        (["--category", "order", "--cause", "failed"], 2),
        ([], 5),
    ],
)
def test_letters_are_chosen_by_filters_that_all_must_hold(url: str, chosen: list[str], count: int) -> None:
    """By who parked them, stream, category, type, cause and age; also by the event's id."""
    found = json.loads(run(url, "list", *chosen, "--json").output)

    assert (found["count"], len(found["letters"])) == (count, count)
    for letter in found["letters"][:1]:
        assert json.loads(run(url, "list", letter["event_id"], "--json").output)["letters"] == [letter]


def test_the_payload_is_masked_by_default(url: str) -> None:
    """The names of the fields are the code's and stay; their values may be personal."""
    masked = run(url, "show", "2").output

    assert all(letter["data"] is None for letter in json.loads(run(url, "list", "--json").output)["letters"])
    assert '{"customer": "***", "amount": "***"}' in masked
    assert '{"customer": "eve@example.org", "amount": -1}' in run(url, "show", "2", "--payload").output
    assert '{"by": "eve@example.org"}' in run(url, "show", "1", "--payload").output
    assert json.loads(run(url, "show", "1", "--json").output)["letters"][0]["data"] == {"by": "***"}


def test_the_text_of_an_error_is_masked_as_the_payload_is(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """It may quote the event: the list has the kind of error and its place, and so has the projector's log."""
    caplog.set_level("DEBUG")
    apply(url, [message("order-3", 1, SECRET)])
    run(url, "discard", "--stream", "order-2", "--yes")

    for command in (("list",), ("list", "--json"), ("show", "2"), ("show", "2", "--json"), ("log",), ("log", "--json")):
        shown = run(url, *command).output
        assert "ValueError at shop.py:" in shown
        assert "eve@example.org" not in shown
    assert "parks order-3 at version 1, failed: ValueError at shop.py:" in caplog.text
    assert "eve@example.org" not in caplog.text
    for command in ("show", "2"), ("list", "--json"), ("log", "--json"):
        assert "eve@example.org ordered for -1" in run(url, *command, "--payload").output


def test_a_redrive_takes_whole_streams_and_asks_with_their_count(url: str) -> None:
    """One letter named, its stream's three counted; a no does nothing."""
    shown = run(url, "redrive", "3", answer="n\n")

    assert "Redrive 3 letters of 1 stream, parked by projection:totals:1? [y/N]" in shown.output
    assert shown.exit_code == 1
    assert rows(url, "select * from eventkit.redrives") == []


@pytest.mark.parametrize("command", ["redrive", "discard"])
def test_a_dry_run_describes_the_change(url: str, command: str) -> None:
    """And does nothing."""
    before = (letters(url), checkpoints(url))

    shown = run(url, command, "--by", "totals", "--dry-run")

    assert shown.output == f"would {command} 4 letters of 2 streams; nothing was done\n"
    assert (letters(url), checkpoints(url), rows(url, "select * from eventkit.redrives")) == (*before, [])


def test_a_redrive_with_code_applies_here_and_now(url: str) -> None:
    """No projector runs: the operator names the code that applies the letters."""
    shown = run(url, "redrive", "--by", "totals", "--yes", "--code", MENDED, "--as", "ann")

    assert shown.stdout == "4 letters applied\n"
    assert rows(url) == [("ann", 2, 2), ("eve@example.org", 2, 0)]
    assert {row[0] for row in rows(url, "select actor || ' ' || result from eventkit.dead_letter_actions")} == {
        "ann applied"
    }


def test_a_redrive_that_fails_again_says_so(url: str) -> None:
    """Exit 1, for a script."""
    shown = run(url, "redrive", "--stream", "order-2", "--yes", "--code", "tests.projection.read_models:totals")

    assert shown.exit_code == 1
    assert shown.output.endswith("1 letter still there: `eventkit dead-letters list` says why\n")


def test_a_redrive_that_no_projector_takes_up_gives_advice(url: str) -> None:
    """The request stays; the list shows it; exit 1, for a script."""
    shown = run(url, "redrive", "--all", "--yes", "--wait", "0", "--as", "ann")

    assert shown.exit_code == 1
    assert "1 letter of the relay: it sends their streams again, when it runs" in shown.output
    assert "2 streams wait for a projector to take them up" in shown.output
    assert "failed, redrive asked by ann" in run(url, "list").output


def test_a_running_projector_leaves_a_redrive_to_the_named_code(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the old code, looks all the time, and is never first; the record has the operator."""
    looked: list[int] = []
    ask = RedriveRequests.redrive

    def ask_and_let_the_others_look(*args: Any, **kwargs: Any) -> tuple[int, int]:  # noqa: ANN401 the method's own
        asked = ask(*args, **kwargs)
        with projector(url) as old:
            looked.append(old.redrives.serve())
        return asked

    monkeypatch.setattr(RedriveRequests, "redrive", ask_and_let_the_others_look)
    shown = run(url, "redrive", "--by", "totals", "--yes", "--code", MENDED, "--as", "ann")

    assert (looked, shown.stdout, shown.exit_code) == ([0], "4 letters applied\n", 0)
    assert rows(url, "select distinct actor, result from eventkit.dead_letter_actions") == [("ann", "applied")]
    assert rows(url, "select * from eventkit.redrives") == []


def test_code_that_cannot_be_imported_asks_for_nothing(url: str) -> None:
    """It is imported before anything is asked or done."""
    shown = run(url, "redrive", "--all", "--yes", "--code", "nowhere:totals")

    assert shown.exit_code == 1
    assert "no module 'nowhere'" in shown.stderr
    assert rows(url, "select * from eventkit.redrives") == []


def test_code_that_fails_while_it_begins_leaves_no_request_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a message reserved for it would never be redriven."""

    def fail(*_: object) -> None:
        raise ProjectionError("cannot begin")

    monkeypatch.setattr(ProjectionRunner, "redrive", fail)
    shown = run(url, "redrive", "--by", "totals", "--yes", "--code", MENDED)

    assert shown.exit_code == 1
    assert "2 streams not tried: the request is withdrawn" in shown.stderr
    assert rows(url, "select * from eventkit.redrives") == []


@pytest.mark.parametrize("command", ["list", "redrive", "discard", "log"])
def test_a_name_that_nobody_has_is_a_mistake(url: str, command: str) -> None:
    """An empty answer would be taken for good news; a known name has an answer, an empty one too."""
    more = [] if command in ("list", "log") else ["--yes", "--dry-run"]

    unknown = run(url, command, "--by", "total", *more)
    cause = run(url, command, "--cause", "faild", *more)

    assert unknown.exit_code == 1
    assert unknown.stderr == "eventkit: nobody named 'total' parks streams in this database: there are relay, totals\n"
    assert cause.exit_code == 2
    assert "'faild' is not one of 'failed', 'undecodable'" in cause.stderr
    for by in ("relay", "totals", "projection:totals:1"):
        assert run(url, command, "--by", by, "--stream", "none-1", *more).exit_code == 0


def test_the_payload_is_shown_without_json_too(url: str) -> None:
    """A table has no room for it: each letter is printed line by line."""
    shown = run(url, "list", "--payload")

    assert shown.exit_code == 0
    assert shown.output.count("eve@example.org") >= 3
    assert "\n\n" in shown.output


@pytest.mark.parametrize("command", ["redrive", "discard"])
@pytest.mark.parametrize("letters", [["999"], ["1", "999"], ["00000000-0000-0000-0000-000000000009"]])
def test_a_letter_that_is_not_there_is_a_mistake(url: str, command: str, letters: list[str]) -> None:
    """As in `show`; nothing is done to the others that are named."""
    done = run(url, command, *letters, "--yes")

    assert done.exit_code == 1
    assert f"there is no dead letter {letters[-1]}" in done.stderr
    assert "nothing was done to a dead letter" in run(url, "log").stdout


def test_all_letters_need_an_explicit_option(url: str) -> None:
    """No filter is no choice; neither are two kinds of ids."""
    for command in ("redrive", "discard"):
        shown = run(url, command)
        assert shown.exit_code == 2
        assert "say which letters" in shown.stderr
    assert "is neither a letter's number nor an event's id" in run(url, "show", "x").stderr
    assert "is no age" in run(url, "list", "--older-than", "soon").stderr
    assert "there is no dead letter 99" in run(url, "show", "99").stderr


def test_a_discard_of_the_relays_letter_leaves_a_tombstone_to_be_published(url: str) -> None:
    """It is in the table of amendments, and in the record."""
    shown = run(url, "discard", "--by", "relay", "--yes")

    assert shown.output == "1 letter discarded\n"
    assert rows(url, "select type, data from eventkit.amendments") == [("eventkit.tombstone", {"type": "Filled"})]
    assert "a tombstone is published in its place" in run(url, "log", "--by", "relay").output


def test_new_data_is_checked_before_it_takes_the_old_ones_place(url: str, tmp_path: Path) -> None:
    """JSON, and the fields of the type in the catalog."""
    new = tmp_path / "new.json"
    wrong = [(b"{", "is no JSON"), (b"[]", "is no JSON object"), (b"\xff", "is not UTF-8")]
    for data, said in [*wrong, (b'{"customer": 1}', "makes no Ordered")]:
        new.write_bytes(data)
        shown = run(url, "edit", "2", "--data", str(new), "--catalog", "tests.projection.shop:shop", "--yes")
        assert (shown.exit_code, said in shown.stderr) == (1, True)
    assert rows(url, "select * from eventkit.dead_letter_actions") == []

    shown = run(url, "edit", "2", "--data", "-", "--yes", answer='{"customer": "bob", "amount": 2}')

    assert shown.output == "letter 2 is edited, order-1 is to be redriven\n"
    assert rows(url, "select convert_from(data, 'UTF8') from eventkit.dead_letters where id = 2") == [
        ('{"customer": "bob", "amount": 2}',)
    ]


def test_the_log_names_the_operator_and_the_action(url: str) -> None:
    """The newest first, payload only on request."""
    run(url, "edit", "2", "--data", "-", "--yes", "--as", "bob", answer='{"customer": "bob", "amount": 2}')
    run(url, "discard", "--stream", "order-2", "--yes", "--as", "ann")

    found = json.loads(run(url, "log", "--json", "--payload").output)["actions"]

    assert [(action["actor"], action["action"], action["stream"]) for action in found] == [
        ("ann", "discard", "order-2"),
        ("bob", "edit", "order-1"),
    ]
    assert found[1]["data"]["customer"] == "eve@example.org"
    assert json.loads(run(url, "log", "--json").output)["actions"][1]["data"] is None
    assert [line.split()[2:4] for line in run(url, "log", "--stream", "order-2").output.splitlines()[1:]] == [
        ["ann", "discard"]
    ]
