"""The endpoint of a worker, put together: its paths, its metrics of the database, and what is left out."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection

import psycopg
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from eventkit.cli import main
from eventkit.config import Settings
from eventkit.health import Serving
from eventkit.health.database_gauges import DatabaseGauges
from eventkit.storage.events import EventStore
from tests.projection.shop import Noted, shop


def append(url: str, count: int) -> None:
    """Append events, one a stream."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with Session(engine) as session, session.begin():
        for number in range(count):
            EventStore(shop).append(session, shop.stream("order", str(number)), Noted("x"))
    engine.dispose()


@pytest.fixture
def serving(database_url: str) -> Iterator[Serving]:
    """The endpoint of a timers process that has started, without its worker."""
    serving = Serving(
        "0", Settings(database_url=database_url), role="timers", broker=False, lease=False, stopping=lambda: False
    )
    serving.started()
    yield serving
    serving.close()


def get(serving: Serving, path: str) -> tuple[int, str]:
    """Return status and body of a path."""
    connection = HTTPConnection(serving.address, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    found = response.status, response.read().decode()
    connection.close()
    return found


def readings(url: str, role: str, projections: list[str] | None = None) -> dict[str, float]:
    """Return the gauges of a database as one role asks for them, by name and labels."""
    gauges = DatabaseGauges(Settings(database_url=url), role=role)
    gauges.show(projections or [])
    return {" ".join([instrument.name, *labels]): value for instrument, value, labels in gauges.read()}


def test_a_relay_answers_for_the_outbox(database_url: str) -> None:
    """Unsent events and the age of the oldest are those of the table."""
    append(database_url, 3)

    found = readings(database_url, "relay")

    assert found["eventkit_outbox_unsent_events"] == 3
    assert 0 <= found["eventkit_outbox_oldest_unsent_age_seconds"] < 600
    assert found["eventkit_timers_overdue"] == 0
    assert found["eventkit_inbox_rows"] == 0


def test_roles_answer_for_their_parts(database_url: str) -> None:
    """The timers know deadlines and the publisher's mode, a projector neither outbox nor deadlines."""
    assert {name.partition(" ")[0] for name in readings(database_url, "timers")} == {
        "eventkit_timers_overdue", "eventkit_timers_oldest_overdue_seconds", "eventkit_publisher_mode",
    }  # fmt: skip
    assert set(readings(database_url, "projector", ["totals"])) == {"eventkit_inbox_rows"}


def test_a_role_without_the_right_leaves_its_part_out(database_url: str) -> None:
    """A metric that the process's user may not read is missing, and the others are there."""
    role = "health_" + str(make_url(database_url).database)[-12:]
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute(f"create role {role} login")
        session.execute(f"grant usage on schema eventkit to {role}")
        session.execute(f"grant select on all tables in schema eventkit to {role}")
        session.execute(f"revoke select on eventkit.inbox from {role}")

        found = readings(make_url(database_url).set(username=role).render_as_string(hide_password=False), "relay")

        session.execute(f"drop owned by {role}")
        session.execute(f"drop role {role}")
    assert "eventkit_inbox_rows" not in found
    assert "eventkit_outbox_unsent_events" in found


def test_the_page_of_metrics_is_read_by_prometheus(serving: Serving) -> None:
    """It has the process, and says that the database has answered."""
    status, body = get(serving, "/metrics")

    values = {sample.name: sample.value for each in text_string_to_metric_families(body) for sample in each.samples}
    assert status == 200
    assert values["eventkit_insights_up"] == 1
    assert values["eventkit_process_info"] == 1
    assert values["eventkit_timers_fired_total"] == 0
    assert values["process_open_fds"] > 0


def test_without_the_client_probes_work_and_metrics_say_how_to_get_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker without prometheus-client starts, warns, and answers probes."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    settings = Settings(database_url=database_url)
    serving = Serving("0", settings, role="timers", broker=False, lease=False, stopping=lambda: False)
    try:
        assert get(serving, "/livez")[0] == 200
        status, body = get(serving, "/metrics")
    finally:
        serving.close()

    assert (status, "pip install 'eventkit-outbox[metrics]'" in body) == (503, True)
    assert "pip install 'eventkit-outbox[metrics]'" in caplog.text


def test_eventkit_health_asks_and_ends_with_a_code(serving: Serving) -> None:
    """The command prints a line for each check, or the JSON, and ends with 0."""
    ran = CliRunner().invoke(main, ["health", serving.address])
    as_json = CliRunner().invoke(main, ["health", serving.address, "--json"])

    assert (ran.exit_code, ran.stdout.splitlines()[0][:13]) == (0, "ok  database:")
    assert json.loads(as_json.stdout)["ready"] is True


def test_eventkit_health_ends_with_one_while_the_worker_starts(database_url: str) -> None:
    """A worker that has not begun is live, and neither started nor ready."""
    settings = Settings(database_url=database_url)
    serving = Serving("0", settings, role="timers", broker=False, lease=False, stopping=lambda: False)
    try:
        codes = {
            probe: CliRunner().invoke(main, ["health", serving.address, "--probe", probe]).exit_code
            for probe in ("live", "ready", "startup")
        }
    finally:
        serving.close()

    assert codes == {"live": 0, "ready": 1, "startup": 1}


def test_a_taken_port_ends_a_worker_at_once() -> None:
    """The message names option, address and cure; the exit code is that of a wrong setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "eventkit.cli", "--database-url", "postgresql://nobody@127.0.0.1:1/x"]
        ran = subprocess.run(
            [*command, "relay", "run", "--serve", address], check=False, capture_output=True, text=True, timeout=60
        )

    assert ran.returncode == 2
    assert f"--serve {address}: another process listens there already: choose another port" in ran.stderr


def test_eventkit_health_of_nobody_is_an_error() -> None:
    """A port at which nobody listens is named."""
    ran = CliRunner().invoke(main, ["health", "127.0.0.1:1"])

    assert ran.exit_code == 1
    assert "no worker answers at 127.0.0.1:1" in ran.stderr
