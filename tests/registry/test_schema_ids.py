"""The relay's schema ids: looked up once, kept in the database, never believed against a registry that answers."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from eventkit.cli import main
from eventkit.errors import RegistryError
from eventkit.registry import SchemaIds, SchemaRegistry, SubjectNames, schema_ids
from eventkit.storage.events import record_held
from tests.registry.conftest import Answers
from tests.waiting import wait_until

KEY = ("shop.order", "shop", "Placed", 1)
SECRET = "hush-7f3a"
AWAY = (503, b'{"error_code": 50301, "message": "later"}')


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection as the relay's reader has it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(autouse=True)
def registered(web: Answers) -> Answers:
    """A registry with three versions of one type, of two schema versions."""
    web.answers["/config"] = (200, b'{"compatibilityLevel": "NONE"}')
    schemas = [json.dumps({"x-dataschemaversion": version}) for version in (1, 1, 2)]
    web.registers("shop.Placed", *({"id": 11 + place, "schema": each} for place, each in enumerate(schemas)))
    return web


def started(web: Answers, connection: psycopg.Connection[Any]) -> SchemaIds:
    """Return the ids of a relay that has just started."""
    ids = SchemaIds(SchemaRegistry(web.url.replace("//", f"//ci:{SECRET}@")), SubjectNames.RECORD)
    ids.load(connection, "eventkit")
    return ids


def number(ids: SchemaIds, key: tuple[str, str, str, int] = KEY) -> int:
    """Return the id of a known type."""
    found = ids.of(key)
    assert found is not None
    return found.id


def test_the_newest_version_with_the_schema_version_is_named(web: Answers, connection: psycopg.Connection[Any]) -> None:
    """It is asked for once; a schema without the keyword is of version 1."""
    web.registers("shop.Sent", {"id": 20, "schema": "{}"})
    ids = started(web, connection)
    keys = [KEY, (*KEY[:3], 2), ("shop.other", *KEY[1:]), (*KEY[:2], "Sent", 1)]

    assert ids.refused(connection, "eventkit", keys) == {}
    asked = len(web.asked)
    assert ids.refused(connection, "eventkit", keys) == {}

    assert [number(ids, key) for key in keys] == [12, 13, 12, 20]
    assert len(web.asked) == asked


def test_a_subject_may_have_the_topic(web: Answers, connection: psycopg.Connection[Any]) -> None:
    """By TopicRecordNameStrategy one type has a schema for each topic."""
    web.registers("orders-shop.Placed", {"id": 30, "schema": "{}"})
    ids = SchemaIds(SchemaRegistry(web.url), SubjectNames.TOPIC_RECORD)
    key = ("orders", *KEY[1:])

    refused = ids.refused(connection, "eventkit", [KEY, key])

    assert "is not registered as subject 'shop.order-shop.Placed'" in refused["shop.order"]
    assert (list(refused), number(ids, key)) == (["shop.order"], 30)


def test_a_start_without_an_answer_uses_the_kept_ids(
    web: Answers, connection: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once, without the password; a new type holds its topic, and the registry is left in peace."""
    started(web, connection).refused(connection, "eventkit", [KEY])
    web.answers, web.otherwise = {}, AWAY
    ids = started(web, connection)
    asked = len(web.asked)

    new = ids.refused(connection, "eventkit", [KEY, ("shop.new", "shop", "New", 1), (*KEY[:3], 2)])

    assert number(ids) == 12
    assert sorted(new) == ["shop.new", "shop.order"]
    assert "the schema of 'New' of 'shop', version 1, is not known yet: the schema registry at http" in new["shop.new"]
    assert len(web.asked) == asked
    assert "1 schema ids of an earlier start are used" in caplog.text
    assert SECRET not in caplog.text + str(new)


def test_a_registry_that_is_back_is_asked_again(
    web: Answers, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause; the held topic goes on."""
    monkeypatch.setattr(schema_ids, "_AWAY_TIME", 0)
    ids = started(web, connection)
    answers, web.answers, web.otherwise = web.answers, {}, AWAY
    assert "is not known yet" in ids.refused(connection, "eventkit", [KEY])["shop.order"]

    web.answers = answers

    assert ids.refused(connection, "eventkit", [KEY]) == {}
    assert number(ids) == 12


def test_a_registry_that_was_set_up_anew_is_believed(web: Answers, connection: psycopg.Connection[Any]) -> None:
    """Its other ids replace the kept ones; a schema that is gone holds the topic."""
    started(web, connection).refused(connection, "eventkit", [KEY, (*KEY[:3], 2)])
    web.registers("shop.Placed", {"id": 5, "schema": '{"x-dataschemaversion": 2}'})

    ids = started(web, connection)
    refused = ids.refused(connection, "eventkit", [KEY, (*KEY[:3], 2)])

    assert "version 1, is not registered as subject 'shop.Placed'" in refused["shop.order"]
    assert number(ids, (*KEY[:3], 2)) == 5


def test_a_registry_that_does_not_answer_holds_up_nobody(
    web: Answers, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader goes on with other topics; the question stays open, and its answer counts when it comes."""
    monkeypatch.setattr(schema_ids, "_AWAY_TIME", 0)
    monkeypatch.setattr(schema_ids, "_PAGE_TIME", 0.01)
    ids = started(web, connection)
    web.gate.clear()
    other = ("shop.new", "shop", "New", 1)
    asked = len(web.asked)

    for _ in range(3):
        refused = ids.refused(connection, "eventkit", [KEY, other])
        assert sorted(refused) == ["shop.new", "shop.order"]
        assert "has not answered yet about subject 'shop.Placed'" in refused["shop.order"]
    wait_until(lambda: len(web.asked) > asked, what="the question")
    assert len(web.asked) == asked + 1
    web.gate.set()

    wait_until(lambda: "shop.order" not in ids.refused(connection, "eventkit", [KEY]), what="the answer")
    assert number(ids) == 12
    monkeypatch.setattr(schema_ids, "_PAGE_TIME", 60)
    assert "is not registered" in ids.refused(connection, "eventkit", [other])["shop.new"]


def test_a_start_does_not_wait_for_a_slow_registry(
    web: Answers,
    connection: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The kept ids are used after a while, with a warning."""
    started(web, connection).refused(connection, "eventkit", [KEY, (*KEY[:3], 2)])
    monkeypatch.setattr(schema_ids, "_START_TIME", 0.01)
    web.gate.clear()

    ids = started(web, connection)
    web.gate.set()

    assert ids.refused(connection, "eventkit", [KEY, (*KEY[:3], 2)]) == {}
    assert [number(ids), number(ids, (*KEY[:3], 2))] == [12, 13]
    assert "2 schema ids of an earlier start are used" in caplog.text


def test_any_reason_of_a_held_topic_can_be_recorded(connection: psycopg.Connection[Any]) -> None:
    """A registry or a broker may write anything into it."""
    record_held(connection, "eventkit", {"shop.order": "a\0b\ud800\n"})

    assert connection.execute("select reason from eventkit.held_topics").fetchone() == ("a\ufffdb?\n",)


@pytest.mark.parametrize("answer", [AWAY, (401, b"{}"), (200, b"<html>")])
def test_a_first_start_needs_an_answer(
    web: Answers, connection: psycopg.Connection[Any], answer: tuple[int, bytes]
) -> None:
    """A wrong address or password ends it with one sentence, before anything is held."""
    web.answers, web.otherwise = {}, answer

    with pytest.raises(RegistryError, match="does not say its compatibility level") as raised:
        started(web, connection)

    assert SECRET not in str(raised.value)


def test_the_doctor_asks_the_registry(web: Answers, database_url: str) -> None:
    """Where the relay names schemas; the finding has the reason and no password."""
    settings = {
        "EVENTKIT_DATABASE_URL": database_url,
        "EVENTKIT_REGISTRY_URL": web.url.replace("//", f"//ci:{SECRET}@"),
        "EVENTKIT_SCHEMA_ID": "dataschema",
    }

    def found() -> dict[str, Any]:
        answer = CliRunner().invoke(main, ["doctor", "--json"], env=settings).stdout
        assert SECRET not in answer
        findings: dict[str, dict[str, Any]] = {each["setting"]: each for each in json.loads(answer)["findings"]}
        return findings["schema registry"]

    assert (found()["found"], found()["safe"]) == (web.url, True)
    web.answers = {"/config": (401, b"{}")}
    assert "HTTP 401" in found()["found"]
    assert not found()["safe"]
