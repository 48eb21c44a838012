"""The mode, and the state of Debezium's slot, on each place that shows the system: status, page, metrics, attention."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from rich.console import Console
from starlette.testclient import TestClient

from eventkit import Settings
from eventkit.cli import main
from eventkit.cli.status.screen import shown
from eventkit.cli.status.system import look
from eventkit.health.database_gauges import DatabaseGauges
from eventkit.insights import Insights, database_findings
from eventkit.insights.attention import other_conditions, relay_conditions
from eventkit.storage.debezium import SENDERS, Mode, Replication, Switch, slot_name
from eventkit.storage.schema import Health
from eventkit.web import Access, app
from tests.debezium.test_mode import admin, put, reader  # noqa: F401 a fixture
from tests.servers.postgres import PostgresServer
from tests.waiting import wait_until

Connection = psycopg.Connection[Any]


@pytest.fixture
def replication(admin: Connection) -> Iterator[Replication]:  # noqa: F811
    """A slot that nobody reads, with its publication."""
    found = Replication(admin, "eventkit", slot_name(admin, "eventkit"))
    found.publish()
    found.create()
    yield found
    found.unpublish()


def screen(connection: Connection, columns: int) -> list[str]:
    """Return the lines of `eventkit status`."""
    console = Console(width=columns, color_system=None)
    with console.capture() as captured:
        console.print(shown(look(Insights(connection), limit=20), "eventkit"))
    return captured.get().split("\n")


def page(url: str) -> str:
    """Return the page's Relay screen."""
    site = app(Settings(database_url=url), access=lambda _: Access(who="ann"))
    with TestClient(site, base_url="http://127.0.0.1") as visitor:
        return visitor.get("/relay").text


def gauges(url: str, role: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the gauges of the publisher that a role answers."""
    readings = DatabaseGauges(Settings(database_url=url), role=role).read()
    return {
        (gauge.name, tuple(labels)): value
        for gauge, value, labels in readings
        if gauge.name.startswith(("eventkit_publisher", "eventkit_debezium", "eventkit_relay_parts"))
    }


@pytest.mark.parametrize("mode", Mode)
def test_the_mode_is_shown_everywhere(
    admin: Connection,  # noqa: F811
    replication: Replication,
    database_url: str,
    mode: Mode,
) -> None:
    """On the screen in 80 and in 40 columns, in JSON, on the page, and by the gauges of relay and timers."""
    put(admin, mode)
    is_debezium_sending = mode in (Mode.TO_RELAY, Mode.DEBEZIUM)
    has_slot = mode not in (Mode.RELAY, Mode.TO_DEBEZIUM)

    for columns in (80, 40):
        lines = screen(admin, columns)
        assert max(map(len, lines)) <= columns
        assert SENDERS[mode] in " ".join(" ".join(lines).split())
    answer = json.loads(json.dumps(asdict(Insights(admin).relay()), default=str))
    assert answer["mode"] == mode
    assert (answer["debezium"] or {}).get("slot") == (replication.name if has_slot else None)
    html = page(database_url)
    assert f"Mode <code>{mode}</code>: {SENDERS[mode]}" in html
    assert ("Debezium does not send" in html) is is_debezium_sending
    for role in ("relay", "timers"):
        found = gauges(database_url, role)
        assert [labels for (name, labels), value in found.items() if name == "eventkit_publisher_mode" and value] == [
            (mode,)
        ]
        assert found.get(("eventkit_debezium_reads", ())) == (0 if has_slot else None)
    assert gauges(database_url, "relay")["eventkit_relay_parts_without_relay", ()] == (mode is not Mode.DEBEZIUM)


def test_no_relay_is_missed_while_debezium_sends(
    admin: Connection,  # noqa: F811
    replication: Replication,
    database_url: str,
    tmp_path: Path,
    postgres: PostgresServer,
) -> None:
    """The screens show that Connect reads, how far it is behind, and no part without a leader."""
    put(admin, Mode.DEBEZIUM)
    with reader(postgres, database_url, replication.name, tmp_path):
        wait_until(lambda: (replication.look() or pytest.fail("no slot")).reader, what="the reader")
        text, html = "\n".join(screen(admin, 80)), page(database_url)

        assert Insights(admin).attention() == []
        assert "nothing needs you" in text
        assert "Connect reads its slot" in text
        assert "nobody" not in text
        assert "<dt>Connect reads</dt><dd>yes" in html
        assert "No relay runs" not in html
        assert gauges(database_url, "timers")["eventkit_debezium_reads", ()] == 1


def test_nobody_is_advised_to_drop_the_slot_of_debezium(
    admin: Connection,  # noqa: F811
    replication: Replication,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its place is lost with it: neither attention nor doctor says so, however much log the slot keeps."""
    monkeypatch.setattr(other_conditions, "MOST_RETAINED", -1)
    put(admin, Mode.DEBEZIUM)

    [item] = Insights(admin).attention()

    assert item.code == "debezium_stands"
    findings = list(database_findings(Health(admin, "eventkit")))
    assert [each for each in findings if each.setting == f"slot {replication.name}"] == []
    assert not any("drop the slot" in each.reason for each in findings)


def test_a_connect_that_reads_and_does_not_send_is_reported(
    admin: Connection,  # noqa: F811
    replication: Replication,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    postgres: PostgresServer,
    database_url: str,
) -> None:
    """As where a topic is missing: its task runs, and the log that it has to send grows."""
    monkeypatch.setattr(relay_conditions, "MOST_BEHIND", -1)
    put(admin, Mode.DEBEZIUM)

    with reader(postgres, database_url, replication.name, tmp_path):
        wait_until(lambda: (replication.look() or pytest.fail("no slot")).reader, what="the reader")
        [item] = Insights(admin).attention()

    assert (item.urgency, item.title) == ("warning", "Debezium is far behind")


@pytest.mark.parametrize(("mode", "onward"), [("to debezium", "debezium"), ("both", "debezium"), ("to relay", "relay")])
def test_a_switch_that_was_ended_early_is_reported(
    admin: Connection,  # noqa: F811
    database_url: str,
    mode: str,
    onward: str,
) -> None:
    """With the command that goes on; while a command runs the switch, nothing is said."""
    put(admin, mode)

    def items() -> list[str]:
        return [item.action for item in Insights(admin).attention() if item.code == "switch_unfinished"]

    assert items() == [f"eventkit db mode {onward}"]
    with psycopg.connect(database_url, autocommit=True) as other:
        Switch(other, "eventkit", actor="me")
        assert items() == []


@pytest.mark.parametrize("kind", ["--moved", "--clone"])
def test_an_adopted_copy_without_the_slot_says_that_nobody_sends(
    admin: Connection,  # noqa: F811
    database_url: str,
    kind: str,
) -> None:
    """The mode comes with a dump, the slot does not; `db mode` and attention say so too."""
    put(admin, Mode.DEBEZIUM)
    admin.execute("update eventkit.installation set database_oid = 1, system_identifier = 1")
    environment = {"EVENTKIT_DATABASE_URL": database_url}

    adopted = CliRunner().invoke(main, ["db", "adopt", kind], env=environment)
    shown_mode = CliRunner().invoke(main, ["db", "mode"], env=environment)

    assert adopted.exit_code == 0
    assert "nobody sends the events of this database. `eventkit db mode relay --again-since" in adopted.stderr
    assert "its replication slot is gone" in shown_mode.stdout
    assert [item.title for item in Insights(admin).attention()] == ["Debezium's slot is gone"]


def test_the_tables_are_not_dropped_beside_the_slot_of_debezium(
    admin: Connection,  # noqa: F811
    replication: Replication,
    database_url: str,
) -> None:
    """Without them no command would drop it, and the server would keep its log until the disk is full."""
    done = CliRunner().invoke(main, ["db", "downgrade", "base", "--yes"], env={"EVENTKIT_DATABASE_URL": database_url})

    assert done.exit_code == 1
    assert f"{replication.name} would stay" in done.stderr
    assert admin.execute("select count(*) from eventkit.installation").fetchone() == (1,)
