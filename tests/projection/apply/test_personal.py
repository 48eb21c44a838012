"""A projector and personal data: handlers see it while there is a key; nothing that is kept or logged shows it."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import Column, Connection, MetaData, Table, Text, text

from eventkit import Catalog, Envelope, Privacy
from eventkit.cli import main
from eventkit.config import Settings
from eventkit.domain.message import Message
from eventkit.projection.apply.applier import BatchApplier
from eventkit.projection.apply.decrypter import Decrypter
from eventkit.projection.define.projection import Projection
from eventkit.projection.define.sql import SqlProjection
from eventkit.projection.define.table import TableProjection
from eventkit.projection.rebuild.rebuild import RebuildPlan, RebuildRun
from eventkit.projection.run.projector import Projector
from eventkit.storage import migrate
from eventkit.storage.db.connection import connect
from eventkit.storage.events.stream_history import OwnHistory
from tests.projection.shop import Given, checkpoints, letters, rows, sent
from tests.storage.people import ADA, CANARY, MASTERS, ORDERED, REGISTERED, Counted, Registered, crm, store

PEOPLE = Table("people", MetaData(), Column("stream", Text, primary_key=True), Column("name", Text, default=""))
NAMES = "select name from people order by stream"


def people() -> Projection:
    """Fold names, each event into a row of its stream."""
    projection = TableProjection("people", crm, table=PEOPLE, key="stream")

    @projection.on(Registered, key=lambda _, envelope: str(envelope.stream))
    def registered(row: Any, event: Registered) -> None:  # noqa: ANN401 a row of any table
        row.name = event.name

    @projection.on(Counted, key=lambda _, envelope: str(envelope.stream))
    def counted(row: Any, event: Counted) -> None:  # noqa: ANN401 likewise
        row.name += f" {event.n}"

    return projection


def failing(statement: str = "") -> Projection:
    """Fail at everybody's registration, with a message that says whose."""
    projection = SqlProjection("failing", crm)

    @projection.on(Registered)
    def registered(connection: Connection, event: Registered, envelope: Envelope[Registered]) -> None:
        if statement:
            connection.execute(text(statement), {"stream": envelope.stream, "name": event.name})
        raise ValueError(f"{event.name} was born on {event.born}")

    return projection


@pytest.fixture
def url(database_url: str) -> str:
    """A database with the read model and a customer's events."""
    with psycopg.connect(database_url) as connection:
        connection.execute("create table people (stream text primary key, name text not null unique)")
        store.append(connection, ADA, REGISTERED, Counted(1))
    return database_url


@contextmanager
def working(
    url: str, projection: Projection, *, keys_at: str | None = None, keyless: bool = False
) -> Iterator[Projector]:
    """Run a projector; keys are read in its own database unless said otherwise."""
    connection = connect(url, name="projector")
    with psycopg.connect(keys_at or url, autocommit=True) as elsewhere:
        opening = Decrypter(MASTERS, "eventkit", lambda: elsewhere if keys_at else connection)
        workspace = projection.workspace(connection)
        applying = BatchApplier(projection, workspace, schema="eventkit", decrypter=None if keyless else opening)
        projector = Projector(applying, history=OwnHistory(connection, "eventkit"))
        projector.start()
        yield projector
        workspace.close()


def applied(url: str, projection: Projection, messages: Sequence[Message], **options: Any) -> None:  # noqa: ANN401
    """Apply messages with a projector of its own."""
    with working(url, projection, **options) as projector:
        projector.step(Given(messages))


def test_handlers_see_personal_data_while_there_is_a_key(url: str) -> None:
    """With the envelope and without; a projector without master keys folds redacted values."""
    applied(url, people(), sent(url, ADA))
    assert rows(url, NAMES) == [(f"Ada {CANARY} 1",)]

    with psycopg.connect(url) as connection:
        connection.execute("delete from eventkit.checkpoints")
        connection.execute("delete from people")
    applied(url, people(), sent(url, ADA), keyless=True)

    assert rows(url, NAMES) == [("[redacted] 1",)]


def test_a_read_model_is_folded_again_after_its_subject_was_forgotten(url: str) -> None:
    """Nothing fails and nothing parks: forgotten values read as redacted."""
    with psycopg.connect(url) as connection:
        Privacy(store).forget(connection, ADA)

    applied(url, people(), sent(url, ADA))

    assert (rows(url, NAMES), letters(url)) == ([("[redacted] 1",)], [])
    assert checkpoints(url) == {ADA: (2, False)}


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_rebuild_reads_personal_data_and_passes_after_its_subject_was_forgotten(url: str, *, forgotten: bool) -> None:
    """A read model in plain text about a person who was forgotten is clean after its rebuild."""
    applied(url, people(), sent(url, ADA))
    if forgotten:
        with psycopg.connect(url) as connection:
            Privacy(store).forget(connection, ADA)

    RebuildRun(people(), Settings(database_url=url, master_keys=MASTERS), RebuildPlan(workers=1)).run()

    assert rows(url, NAMES) == [("[redacted] 1" if forgotten else f"Ada {CANARY} 1",)]
    assert letters(url) == []


@pytest.mark.parametrize(
    ("statement", "kept"),
    [
        ("", "ValueError at test_personal.py:"),
        (
            "insert into people values (:stream, :name), ('x', :name)",
            "IntegrityError (SQLSTATE 23505 people_name_key) at test_personal.py:",
        ),
    ],
)
def test_an_event_that_fails_is_parked_without_its_personal_data(
    url: str, caplog: pytest.LogCaptureFixture, statement: str, kept: str
) -> None:
    """Neither the letter nor the log shows the text of the handler's error; both show its place."""
    caplog.set_level(logging.DEBUG)

    applied(url, failing(statement), sent(url, ADA))

    assert letters(url) == [(ADA, 1, "failed"), (ADA, 2, "behind")]
    error, detail = rows(url, "select error, detail from eventkit.dead_letters order by id")[0]
    assert (error.startswith(kept), detail) == (True, "not kept: it may hold personal data")
    assert kept in caplog.text
    assert CANARY not in caplog.text
    assert CANARY not in repr(rows(url, "select d::text, convert_from(data, 'utf8') from eventkit.dead_letters d"))


def test_an_edited_letter_takes_no_personal_data_in_plain_text(url: str, tmp_path: Path) -> None:
    """An operator's new values are not sealed: personal fields stay as they are, others may be edited."""
    applied(url, failing(), sent(url, ADA))
    old = json.loads(rows(url, "select convert_from(data, 'utf8') from eventkit.dead_letters order by id")[0][0])
    new = tmp_path / "new.json"

    def edit(*options: str, **changes: object) -> str:
        new.write_text(json.dumps(old | changes))
        words = ["dead-letters", "edit", "1", "--data", str(new), "--yes", *options]
        return CliRunner().invoke(main, words, env={"EVENTKIT_DATABASE_URL": url}).output

    catalog = ("--catalog", "tests.storage.people:crm")
    assert "has personal data: give --catalog" in edit(plan="paid")
    assert "'name' of dead letter 1 is personal, and would be kept in plain text" in edit(*catalog, name=CANARY)
    assert "'$personal' of dead letter 1 is sealed" in edit(*catalog, **{"$personal": {}})
    assert "letter 1 is edited" in edit(*catalog, plan="paid")
    assert CANARY not in repr(rows(url, "select a::text from eventkit.dead_letter_actions a"))


def test_an_event_without_personal_data_fails_at_a_row_that_has_some(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It had no sealed values, and yet the text of the handler's error about the row is kept nowhere."""
    caplog.set_level(logging.DEBUG)
    projection = TableProjection("people", crm, table=PEOPLE, key="stream")

    @projection.on(Counted, key=lambda _, envelope: str(envelope.stream))
    def counted(row: Any, event: Counted) -> None:  # noqa: ANN401 a row of any table
        raise ValueError(f"{row.name} counts to {event.n}")

    first, second = sent(url, ADA)
    applied(url, people(), [first])
    applied(url, projection, [second])

    assert letters(url) == [(ADA, 2, "failed")]
    assert CANARY not in caplog.text + repr(rows(url, "select d::text from eventkit.dead_letters d"))


def test_a_parked_event_is_redriven_with_its_personal_data(url: str) -> None:
    """The letter holds the message, sealed; the redrive opens it, or reads redacted values."""
    with psycopg.connect(url) as connection:
        connection.execute("insert into people values ('x', %s)", [REGISTERED.name])
    applied(url, people(), sent(url, ADA)[:1])
    assert letters(url) == [(ADA, 1, "failed")]
    with psycopg.connect(url) as connection:
        connection.execute("delete from people")

    with working(url, people()) as projector:
        assert projector.redrives.retry(ADA)

    assert rows(url, NAMES) == [(REGISTERED.name,)]


def test_an_upcaster_that_fails_over_personal_data_says_nothing_of_it(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the newer class has no personal field any more."""
    caplog.set_level(logging.DEBUG)
    catalog = Catalog("crm")
    catalog.event(name="Registered", version=2)(Counted)
    catalog.upcast(Counted, from_version=1)(lambda data: {"n": data[data["name"]]})
    projection = SqlProjection("numbers", catalog)
    projection.on(Counted)(lambda _connection, _event: None)

    applied(url, projection, sent(url, ADA)[:1])

    assert letters(url) == [(ADA, 1, "undecodable")]
    assert CANARY not in caplog.text + repr(rows(url, "select error from eventkit.dead_letters"))


def test_read_models_elsewhere_read_the_keys_where_the_store_is(url: str, empty_database_url: str) -> None:
    """Where that is not said nothing is redacted: the events are parked, with the way out, and can be redriven."""
    migrate.upgrade(empty_database_url, "eventkit", "head")
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("create table people (stream text primary key, name text not null)")

    applied(empty_database_url, people(), sent(url, ADA))
    assert rows(empty_database_url, NAMES) == []
    [(error,)] = rows(empty_database_url, "select error from eventkit.dead_letters where cause = 'undecodable'")
    assert "SubjectKeyMissing: the key of subject 'customer-42' is not in this database" in error
    assert "--store-url" in error

    with working(empty_database_url, people(), keys_at=url) as projector:
        projector.redrives.retry(ADA)

    assert rows(empty_database_url, NAMES) == [(f"Ada {CANARY} 1",)]


@pytest.mark.parametrize("together", [True, False])
def test_a_forged_event_that_names_the_key_of_another_subject_hides_nobodys_data(url: str, *, together: bool) -> None:
    """A key is one of its subject, in a batch and among the keys in memory: else real data would read as redacted."""
    with psycopg.connect(url) as connection:
        store.append(connection, crm.stream("customer", 43), REGISTERED)
    (first, second), [forged] = sent(url, ADA), sent(url, "customer-43")
    data = json.loads(forged.value)
    data["$personal"] = {"customer-43": json.loads(first.value)["$personal"][ADA]}
    forged.value = json.dumps(data).encode()

    with working(url, people()) as projector:
        for batch in [[first, second, forged]] if together else [[forged], [first, second]]:
            projector.step(Given(batch))

    assert rows(url, NAMES) == [(f"Ada {CANARY} 1",), ("[redacted]",)]


@pytest.mark.parametrize(
    "member",
    [
        [], 7, "x", {"": {"key": "", "sealed": ""}}, {"a\0b": {"key": "k", "sealed": "AA=="}},
        {"customer-42": {"key": "k\0", "sealed": "AA=="}}, {"customer-42": {"key": "k", "sealed": "\u00e9"}},
        {"customer-42": []}, {"x" * 5_000: {"key": "k" * 5_000, "sealed": "A" * 5_000}},
        {f"customer-{n}": {"key": "k", "sealed": ""} for n in range(2_000)},
    ],
    ids=["list", "number", "text", "empty", "NUL", "NUL in a key", "no base64", "no object", "long", "many"],
)  # fmt: skip
def test_an_event_with_any_member_of_sealed_values_is_kept_or_redacted(url: str, member: object) -> None:
    """And the event behind it is applied with its data."""
    (first, second), odd = sent(url, ADA), sent(url, ADA)[0]
    data = json.loads(odd.value)
    data["$personal"] = member
    odd.key, odd.value = "customer-44", json.dumps(data).encode()

    applied(url, people(), [odd, first, second])

    assert (f"Ada {CANARY} 1",) in rows(url, NAMES)
    assert len(rows(url, NAMES)) + len(letters(url)) == 2


def test_sealed_data_that_belongs_to_another_event_is_parked(url: str) -> None:
    """It is no redacted value: somebody has changed it."""
    with psycopg.connect(url) as connection:
        store.append(connection, crm.stream("order", 1), ORDERED)
    first, moved = sent(url, ADA)[0], sent(url, "order-1")[0]
    first.value = moved.value

    applied(url, people(), [first])

    assert letters(url) == [(ADA, 1, "undecodable")]
