"""Attention names each cause of trouble, alone and in words, and says nothing while all is well."""

import json
import re
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from eventkit.insights import Amount, Insights, state_words
from eventkit.insights.attention import CODES, anchor, other_conditions
from eventkit.insights.attention.words import some
from eventkit.relay.claims import refusal
from eventkit.storage.outbox.leases import lock_class
from tests.deploy.command_lines import parse

Connection = psycopg.Connection[Any]
ROOT = Path(__file__).parents[2]

CALM = """
insert into eventkit.streams (stream, version) values ('order-1', 2), ('order-2', 1), ('order-3', 1);
insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata, recorded_at)
  select gen_random_uuid(), 'shop', stream, version, 'Placed', 1, '{}', '{}', now() - interval '1 h'
    from (values ('order-1', 1), ('order-1', 2), ('order-2', 1), ('order-3', 1)) e(stream, version);
insert into eventkit.leases (name, epoch, owner, taken_at, expires_at) values
  ('relay 0/2', 3, 'a:1', now() - interval '1 h', now() + interval '1 day'),
  ('relay 1/2', 1, 'b:1', now() - interval '1 h', now() + interval '1 day'),
  ('timers', 1, 'a:3', now() - interval '1 h', now() + interval '1 day');
update eventkit.installation set relay_parts = 2;
insert into eventkit.projections (name, kind, generation, categories, declared_version) values
  ('totals', 'table projection', 1, '{order}', 1), ('board', 'table projection', 2, '{order}', 1);
insert into eventkit.checkpoints (generation, stream, version)
  select generation, stream, version from eventkit.streams, eventkit.projections;
"""
LATE = """
insert into eventkit.streams values ('order-9', 1);
insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata, recorded_at)
  values (gen_random_uuid(), 'shop', 'order-9', 1, 'Placed', 1, '{}', '{}', now() - interval '10 min');
"""
APPLIED = "insert into eventkit.checkpoints (generation, stream, version) values ({}, 'order-9', 1);"
OUTBOX = """
insert into eventkit.outbox (position, topic, shard, bytes)
  select max(position), 'shop.order', 0, 9 from eventkit.events;
"""
UNSENT = LATE + APPLIED.format(1) + APPLIED.format(2) + OUTBOX
LETTER = """
insert into eventkit.dead_letters (parked_by, stream, version, position, event_id, type, cause, error, attempts)
  select '{by}', stream, version, position, id, type, '{cause}', 'Boom at shop.py, line 7', 1
    from eventkit.events where stream = 'order-2';
"""
WAIT = """
insert into eventkit.handler_waits (projection, process, source, type, handler, is_open, since, reason, attempts,
  streams, next_at)
values ('totals', 'a:2', 'shop', 'Placed', 'shop.placed', {}, now() - interval '1 h', 'Down', 9, 4, now());
"""
OVERDUE = """
insert into eventkit.timers (stream, name, due_at, event_id, source, shard, type, schema_version, data, metadata)
  values ('order-1', 'late', now() - interval '1 h', gen_random_uuid(), 'shop', 0, 'Late', 1, '{}', '{}');
"""
SUCCEEDED = """update eventkit.processes set state = state || jsonb_build_object('successor', jsonb_build_object(
  'host', 'c', 'pid', 77, 'ended_at', now())) where {};"""
GONE = "update eventkit.processes set seen_at = now() - interval '2 min' where {};"


class Case(NamedTuple):
    """A cause, the code that it must be named by, and words that its item must have."""

    cause: str
    code: str
    words: str
    urgency: str = "critical"


CASES = {
    "no relay": Case(
        "update eventkit.leases set expires_at = now() - interval '1 min' where name like 'relay%'",
        "no_relay",
        "No relay",
    ),
    "a part without a relay": Case(
        "update eventkit.leases set expires_at = now() - interval '1 min' where name = 'relay 1/2'",
        "part_without_relay",
        "part 1 of 2",
    ),
    "a part that no relay ever led": Case(
        "delete from eventkit.leases where name = 'relay 1/2'", "part_without_relay", "part 1 of 2"
    ),
    "a part whose lease is only created": Case(
        "update eventkit.leases set epoch = 0, owner = '', taken_at = null, expires_at = '-infinity'"
        " where name = 'relay 1/2'",
        "part_without_relay",
        "part 1 of 2",
    ),
    "an old outbox": Case(UNSENT, "outbox_old", "10 minutes"),
    "events that are unsent, and so not applied": Case(LATE + OUTBOX, "outbox_old", "10 minutes"),
    "a held topic": Case(
        UNSENT + "insert into eventkit.held_topics (topic, reason) values ('shop.order', 'it does not exist')",
        "topic_held",
        "it does not exist",
    ),
    "skipped events": Case(
        """update eventkit.processes set state = state || '{"swept": 3}' where name = 'relay a'""",
        "events_skipped",
        "3 events",
    ),
    "a topic paused for long": Case(
        UNSENT + "insert into eventkit.pauses values ('topic', 'shop.order', 'ann', 'upgrade', now() - interval '5 h')",
        "paused_long",
        "5 hours",
        "warning",
    ),
    "a projection paused for long": Case(
        LATE
        + APPLIED.format(2)
        + "insert into eventkit.pauses values ('projection', 'totals', 'ann', '', now() - interval '5 h');",
        "paused_long",
        "ann has paused",
        "warning",
    ),
    "a dead projector": Case(GONE.format("name = 'totals'"), "projection_without_process", "a:2"),
    "a projector that died before one that has ended cleanly": Case(
        LATE + APPLIED.format(2) + GONE.format("name = 'totals'") + SUCCEEDED.format("name = 'totals'"),
        "projection_without_process",
        "last process c:77 was ended at ",
    ),
    "a projection that nobody runs": Case(
        LATE + APPLIED.format(2) + "delete from eventkit.processes where name = 'totals'",
        "projection_without_process",
        "No process runs it",
    ),
    "a projector that waits": Case(
        """update eventkit.processes set state = jsonb_set(state, '{projections,totals,waits}', '"no table orders"')
            where name = 'totals'""",
        "projection_waits",
        "no table orders",
    ),
    "a projection that does not move": Case(LATE + APPLIED.format(2), "projection_stands", "1 event behind"),
    "a projection that is far behind": Case(
        LATE
        + APPLIED.format(2)
        + """update eventkit.processes set state = jsonb_set(state, '{projections,totals,rate}', '0.0001')
            where name = 'totals'""",
        "projection_behind",
        "catch",
        "warning",
    ),
    "code of a newer version": Case(
        """update eventkit.processes set state = jsonb_set(state, '{projections,totals,version}', '2')
            where name = 'totals'""",
        "projection_version",
        "version 2",
    ),
    "an open breaker": Case(WAIT.format("true"), "handler_waits", "4 streams"),
    "streams that are retried for long": Case(WAIT.format("false"), "handler_waits", "4 streams", "warning"),
    "a poison event": Case(
        LETTER.format(by="projection:totals:1", cause="failed"), "dead_letters", "applied by totals", "warning"
    ),
    "an event that the broker refuses": Case(
        LETTER.format(by="relay", cause="refused"), "dead_letters", "cannot be sent", "warning"
    ),
    "parked streams without a letter": Case(
        "update eventkit.checkpoints set parked = true where generation = 1 and stream = 'order-3'",
        "parked_without_letter",
        "deleted by hand",
        "warning",
    ),
    "a rebuild that stopped": Case(
        """insert into eventkit.rebuilds (name, generation, declared_version, shadow, definition, total, done,
             started_at)
           values ('totals', 7, 2, 'shadow', '', 100, 40, now() - interval '1 h')""",
        "rebuild_stopped",
        "40 of 100",
        "warning",
    ),
    "deadlines that nobody fires": Case(
        OVERDUE
        + "delete from eventkit.leases where name = 'timers'; delete from eventkit.processes where role = 'timers'",
        "no_timers",
        "1 deadline",
    ),
    "deadlines that fire late": Case(
        OVERDUE,
        "timers_late",
        "a:3",
    ),
    "a dead timers process": Case(GONE.format("role = 'timers'"), "process_gone", "process 3 on a", "warning"),
    "a slot that Debezium has lost": Case(
        "update eventkit.installation set mode = 'debezium'", "debezium_stands", "slot is gone"
    ),
    "a switch of the publisher that was ended early": Case(
        "update eventkit.installation set mode = 'to debezium'", "switch_unfinished", "turns back", "warning"
    ),
    "a database that was moved": Case(
        "update eventkit.installation set database_oid = 1, system_identifier = 1", "installation_moved", "--moved"
    ),
}


def beat(connection: Connection, role: str, name: str, place: tuple[str, int], state: dict[str, Any]) -> None:
    """Write the heartbeat of a process on a host."""
    connection.execute(
        """insert into eventkit.processes (id, role, name, host, pid, version, started_at, seen_at, state)
           values (%s, %s, %s, %s, %s, '1', now() - interval '1 h', now() + interval '1 day', %s)""",
        (uuid.uuid4(), role, name, *place, json.dumps(state)),
    )


def calm(connection: Connection) -> None:
    """Make a system in which all is well: two relays, two projectors and one that stands by, timers."""
    connection.execute(CALM.encode())
    beat(connection, "relay", "relay a", ("a", 1), {"parts": {"0": "leader"}, "of": 2, "swept": 0})
    beat(connection, "relay", "relay", ("b", 1), {"parts": {"1": "leader"}, "of": 2, "swept": 0})
    for pid, name in ((2, "totals"), (4, "board"), (9, "board")):
        projection = {"applied": 4, "rate": 0, "version": 1, "shards": {"shop.order/0": [None, True]}, "waits": None}
        state = {"projections": {name: projection}, "arguments": [f"shop.read_models:{name}", "--from", "store"]}
        beat(connection, "projector", name, ("b" if pid == 9 else "a", pid), state)
    beat(connection, "timers", "timers", ("a", 3), {"fired": 0})


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection to a calm system."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        calm(connection)
        yield connection


def test_nothing_is_said_while_all_is_well(connection: Connection) -> None:
    """The page is empty, and a person may sleep."""
    assert Insights(connection).attention() == []


def test_nothing_is_said_about_a_fresh_installation(database_url: str) -> None:
    """Without events, processes and letters there is nothing to do."""
    with psycopg.connect(database_url, autocommit=True) as fresh:
        assert Insights(fresh).attention() == []


@pytest.mark.parametrize("name", CASES)
def test_each_cause_alone_is_named(connection: Connection, name: str) -> None:
    """By one item, with its urgency, the words that tell it from others, and a command that exists."""
    case = CASES[name]
    connection.execute(case.cause.encode())

    [item] = Insights(connection).attention()

    assert (item.code, item.urgency) == (case.code, case.urgency)
    assert case.words in f"{item.title} {item.text}"
    assert item.link == f"docs/troubleshooting.md#{anchor(case.code)}"
    assert parse(shlex.split(item.action))
    assert "PACKAGE" not in item.action or "PACKAGE.MODULE is the module of your code" in item.text


QUIET = {
    "a dead process whose work a live one does": GONE.format("pid = 9"),
    "a dead relay beside a live one": GONE.format("pid = 1 and host = 'b'"),
    "a dead process before one that has ended cleanly": GONE.format("role = 'timers'")
    + SUCCEEDED.format("role = 'timers'"),
    "a dead projector of a projection that is up to date, before one that has ended cleanly": (
        GONE.format("name = 'totals'") + SUCCEEDED.format("name = 'totals'")
    ),
}


@pytest.mark.parametrize("name", QUIET)
def test_a_dead_process_whose_work_is_done_is_not_reported(connection: Connection, name: str) -> None:
    """The list of processes shows it all the same."""
    connection.execute(QUIET[name].encode())

    assert Insights(connection).attention() == []
    assert [each.is_gone for each in Insights(connection).processes().items].count(True) == 1


def test_the_command_that_starts_a_projector_again_can_be_copied(connection: Connection) -> None:
    """With the import path and the source of the process that died."""
    connection.execute(CASES["a dead projector"].cause.encode())

    [item] = Insights(connection).attention()

    assert item.action == "eventkit projector run shop.read_models:totals --from store"


@pytest.mark.parametrize(("shard", "has_relay"), [(1, False), (0, True)])
def test_waiting_events_are_explained_by_their_part_alone(
    connection: Connection, shard: int, *, has_relay: bool
) -> None:
    """Those of a part without a relay are no second alarm; those of another part are."""
    connection.execute((UNSENT + CASES["a part without a relay"].cause).encode())
    connection.execute(b"update eventkit.outbox set shard = %s", [shard])

    [part, waiting] = Insights(connection).attention()

    assert (part.title, waiting.code) == ("Part 1 of 2 has no relay", "outbox_old")
    assert f"They are those of part {shard} of 2." in waiting.text
    assert ("See above" in waiting.text) is not has_relay
    assert ("The relays settle" in waiting.text) is has_relay


def test_the_advice_on_dead_letters_names_them(connection: Connection) -> None:
    """One by its number, several by their projection, cause and category; each command can be run as it is."""
    connection.execute(CASES["a poison event"].cause.encode())
    [one] = Insights(connection).attention()
    connection.execute(
        b"""insert into eventkit.dead_letters (parked_by, stream, version, position, event_id, type, cause, error,
              attempts) select parked_by, 'order-3', 1, position + 1, gen_random_uuid(), type, cause, error, 1
              from eventkit.dead_letters"""
    )
    [two] = Insights(connection).attention()

    assert re.search(r"`eventkit dead-letters redrive \d+`.*`eventkit dead-letters discard \d+`", one.text)
    assert "`eventkit dead-letters redrive --by totals --cause failed --category order`" in two.text
    for item in (one, two):
        assert all(parse(shlex.split(words)) for words in re.findall(r"`(eventkit [^`]+)`", item.text))


def test_the_cases_cover_each_code() -> None:
    """But those that need gigabytes of log, or millions of rows."""
    assert {case.code for case in CASES.values()} == {*CODES} - {"slot_lost", "inbox_large"}


def test_the_most_urgent_comes_first(connection: Connection) -> None:
    """Critical before warning, and nobody sends before something is late."""
    for name in (
        "a poison event",
        "a held topic",
        "a dead projector",
        "a part without a relay",
        "a dead timers process",
    ):
        connection.execute(CASES[name].cause.encode())

    found = [item.code for item in Insights(connection).attention()]

    assert found == ["part_without_relay", "topic_held", "projection_without_process", "dead_letters", "process_gone"]


def test_a_slot_and_an_inbox_are_reported_by_their_sizes(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With limits that a test reaches."""
    monkeypatch.setattr(other_conditions, "LARGE_INBOX", 0)
    monkeypatch.setattr(other_conditions, "MOST_RETAINED", -1)
    connection.execute("select pg_create_physical_replication_slot('left', true)")
    try:
        found = {item.code: item for item in Insights(connection).attention()}
    finally:
        connection.execute("select pg_drop_replication_slot('left')")

    assert found.keys() == {"slot_lost", "inbox_large"}
    assert "left" in found["slot_lost"].title


@pytest.mark.parametrize(("name", "lease"), [("a part that no relay ever led", "relay 1/2"), ("no relay", "relay 0/2")])
def test_a_session_that_keeps_the_lock_of_a_free_part_is_named(
    connection: Connection, database_url: str, name: str, lease: str
) -> None:
    """No relay can take the part, so the action ends this session; a lock of another epoch is no matter."""
    connection.execute(CASES[name].cause.encode())
    epoch = (connection.execute("select epoch from eventkit.leases where name = %s", [lease]).fetchone() or (0,))[0]
    with psycopg.connect(database_url, autocommit=True, application_name="a forgotten session") as other:
        pid = other.info.backend_pid
        other.execute("select pg_advisory_lock_shared(%s::int, %s::int)", [lock_class("eventkit", lease), epoch])
        [before] = Insights(connection).attention()
        other.execute("select pg_advisory_lock_shared(%s::int, %s::int)", [lock_class("eventkit", lease), epoch + 1])
        [item] = Insights(connection).attention()

    assert before.action == "eventkit relay run"
    assert item.action == f"""psql "$EVENTKIT_DATABASE_URL" -c 'select pg_terminate_backend({pid})'"""
    assert f"Session {pid} (a forgotten session, connected for " in item.text
    assert f"holds the lock of part {lease.removeprefix('relay ').replace('/', ' of ')}, so that no" in item.text


@pytest.mark.parametrize(
    ("reason", "action"),
    [
        ("the broker does not know it: create it with `eventkit topics create`", "eventkit topics create shop.order"),
        (refusal("shop.order", "other", "this"), "eventkit topics release shop.order"),
        ("not authorized", "eventkit topics check shop.order"),
    ],
)
def test_the_action_on_a_held_topic_solves_it(connection: Connection, reason: str, action: str) -> None:
    """As far as its reason names the command."""
    connection.execute(UNSENT.encode())
    connection.execute("insert into eventkit.held_topics (topic, reason) values ('shop.order', %s)", [reason])

    [item] = Insights(connection).attention()

    assert item.action == action
    assert parse(action.split())


def test_a_relay_that_is_refused_all_topics_is_explained_first(connection: Connection) -> None:
    """No relay runs, and starting one does not help before the topic is released."""
    connection.execute((UNSENT + CASES["no relay"].cause).encode())
    reason = refusal("shop.order", "other", "this")
    connection.execute("insert into eventkit.held_topics (topic, reason) values ('shop.order', %s)", [reason])

    [relay, held] = Insights(connection).attention()

    assert (relay.code, held.code) == ("no_relay", "topic_held")
    assert "Another installation has claimed shop.order" in relay.text
    assert "solve that first" in relay.text


def test_an_estimate_has_two_digits() -> None:
    """Its other digits would say more than is known; a count has all of them."""
    assert some(Amount(value=150_001, is_exact=False), "event") == "about 150,000 events"
    assert some(Amount(value=150_001, is_exact=True), "event") == "150,001 events"
    assert some(Amount(value=1, is_exact=True), "event") == "1 event"


@pytest.mark.parametrize(
    ("cause", "state"),
    [
        ("", "up to date"),
        ("delete from eventkit.processes where name = 'totals'", "nobody runs it"),
        (LATE + APPLIED.format(2) + OUTBOX, "waits for the relay"),
        (LATE + APPLIED.format(2), "does not move"),
        (CASES["a projection that is far behind"].cause, "catches up"),
        (CASES["a projector that waits"].cause, "waits"),
        ("insert into eventkit.pauses values ('projection', 'totals', 'ann', '', now())", "paused"),
    ],
)
def test_the_state_of_a_projection_is_said_in_words(connection: Connection, cause: str, state: str) -> None:
    """A projection without a process, or behind the relay, does not catch up."""
    if cause:
        connection.execute(cause.encode())
    insights = Insights(connection)
    item = insights.projection("totals")

    assert item is not None
    assert state_words(item, insights.relay()) == state


def test_each_code_has_its_paragraph() -> None:
    """In the order of the list, on the troubleshooting page."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    headings = re.findall(r"^### (.+)$", page, re.MULTILINE)

    assert [heading for heading in headings if heading in CODES.values()] == list(CODES.values())
