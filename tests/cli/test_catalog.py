"""`eventkit catalog`: the description written at a release, and a build's report against it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eventkit.cli import main

SHOP = "tests.cli.shop_events:shop"


def run(*arguments: str, given: str | None = None) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["catalog", *arguments], input=given)


def exported(**changes: object) -> str:
    """Return a description of the shop in which its type is another."""
    description = json.loads(run("export", SHOP).stdout)
    description["types"][0].update(changes)
    return json.dumps(description)


def test_export_prints_types_versions_and_schemas() -> None:
    """A person can read its differences, a program can read all of it."""
    description = json.loads(run("export", SHOP).stdout)

    [kind] = description["types"]
    assert (description["catalog"], kind["name"], kind["version"], kind["source"]) == ("shop", "OrderPlaced", 1, "shop")
    assert kind["data"]["$defs"]["OrderPlaced"]["required"] == ["customer"]


def test_a_release_that_breaks_nothing_exits_with_0(tmp_path: Path) -> None:
    """A build may run it at every change."""
    (tmp_path / "old.json").write_text(exported())

    result = run("check", SHOP, "--against", str(tmp_path / "old.json"))

    assert (result.exit_code, result.stderr) == (0, "")
    assert "catalog shop can read its old events (1 types) and breaks nothing of" in result.stdout


def test_a_breaking_release_is_described_and_exits_with_1() -> None:
    """Each line is a sentence that begins with the readers it concerns; each kind of reader can be checked alone."""
    old = exported(version=2, renamed_from=["Placed"])

    both = run("check", SHOP, "--against", "-", given=old)
    readers = run("check", SHOP, "--against", "-", "--for", "old-readers", given=old)

    assert (both.exit_code, readers.exit_code) == (1, 0)
    assert [line.split(":")[0] for line in both.stdout.splitlines()] == ["old events", "old events"]
    assert "OrderPlaced went from version 2 back to 1" in both.stdout


def test_a_field_that_lost_its_mark_fails_under_any_option() -> None:
    """A field that was written in plain text once stays in plain text."""
    result = run(
        "check", SHOP, "--against", "-", "--for", "old-events", given=exported(personal={"customer": "<stream>"})
    )

    assert result.exit_code == 1
    assert result.stdout.startswith("people: OrderPlaced has personal data in 'customer' (of <stream>)")


def test_a_script_gets_one_object() -> None:
    """With the sentences and the verdict."""
    result = run("check", SHOP, "--against", "-", "--json", given=exported(name="Gone"))

    found = json.loads(result.stdout)
    assert (result.exit_code, found["compatible"], found["types"], found["old_readers"]) == (1, False, 1, [])
    assert "Gone is gone" in found["old_events"][0]


def test_a_workflow_gets_annotations_at_the_class() -> None:
    """Each finding is an error at the class of its type; for a type that is gone, at the catalog."""
    old = json.loads(exported(version=2, renamed_from=["100%,\nPlaced"]))
    old["types"].append({**old["types"][0], "name": "Gone", "renamed_from": []})

    result = run("check", SHOP, "--against", "-", "--format", "github", given=json.dumps(old))

    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert lines[0].startswith(
        "::error file=tests/cli/shop_events.py,line=12,title=old events::OrderPlaced is no longer"
    )
    assert "known as 100%25,%0APlaced, and events" in lines[0]
    assert lines[-1].startswith("::error file=tests/cli/shop_events.py,line=1,title=old events::Gone is gone")
    assert run("check", SHOP, "--format", "github").stdout == ""


def test_a_missing_upcaster_fails_without_an_old_catalog() -> None:
    """The check that runs before the first use can run before the release."""
    result = run("check", "tests.cli.shop_events:broken")

    assert result.exit_code == 1
    assert "'OrderPlaced' of 'shop' is at version 2 and has no upcaster from version 1" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["check"], 2, "Missing argument"),
        (["check", "shop"], 2, "catalog path 'shop' must look like package.module:catalog"),
        (["check", "tests.cli.shop_events:none"], 1, "'tests.cli.shop_events:none' is a int, not a Catalog"),
        (["check", "tests.cli.shop_events:nothing"], 1, "tests.cli.shop_events has no 'nothing'"),
        (["check", "tests.cli.nowhere:shop"], 1, "catalog 'tests.cli.nowhere:shop' cannot be loaded: no module"),
        (["check", SHOP, "--against", "no/such.json"], 2, "no/such.json cannot be read: No such file"),
        (["check", SHOP, "--against", "pyproject.toml"], 2, "pyproject.toml is no description by"),
    ],
)
def test_wrong_input_ends_with_one_sentence(arguments: list[str], code: int, words: str) -> None:
    """It names the input and the accepted values."""
    result = run(*arguments)

    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr


def test_show_prints_the_messages_of_each_topic() -> None:
    """Also those that may be in any topic, and those that go to no broker."""
    shown = run("show", "tests.cli.shop_events:topics")

    assert shown.stdout.splitlines() == [
        "topic            message      version  source",
        "billing.invoice  InvoicePaid        1  billing",
        "shop.order       OrderPaid          2  shop",
        "any topic        Noted              1  shop",
        "no topic         Drafted            1  shop",
    ]


def test_show_prints_one_object_for_a_script() -> None:
    """With the category of each type."""
    found = json.loads(run("show", "tests.cli.shop_events:topics", "--json").stdout)

    assert found["topics"]["shop.order"] == [{"type": "OrderPaid", "version": 2, "source": "shop", "category": "order"}]
    assert [len(found[key]) for key in ("topics", "any_topic", "no_topic")] == [2, 1, 1]
