"""However a command ends: one sentence, an exit code of its kind, and nothing that a stranger chose to print."""

import getpass
import json
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from eventkit.cli import main
from eventkit.cli.common.output import cell
from eventkit.observability.plain import plain
from eventkit.storage import migrate
from eventkit.storage.retention.prune import long_ago

SECRET = "hush-7f3a"
EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\ud800"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise an unexpected error, whose message repeats its input."""

    def fail(*_: object) -> None:
        raise TypeError(f"{SECRET}\n2026-01-01 00:00:00.000 ERROR   relay: FORGED {EVIL}")

    monkeypatch.setattr(migrate, "sql", fail)


def run(*words: str, **environment: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, words, env={"EVENTKIT_DATABASE_URL": "", **environment})


@pytest.mark.usefixtures("broken")
def test_a_fault_is_one_sentence_and_exit_70() -> None:
    """It has the place, not the message: an error's message may repeat an event."""
    done = run("db", "sql")

    assert done.exit_code == 70
    assert done.stderr.startswith("eventkit: unexpected TypeError at ")
    assert done.stderr.endswith("`eventkit --debug ...` shows the stack\n")
    assert done.stderr.count("\n") == 1
    assert SECRET not in done.output


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("form", ["text", "json"])
def test_debug_shows_the_stack_and_no_forged_line(form: str) -> None:
    """Control characters are escaped, and the lines of a message are no lines of the log."""
    done = run("--debug", "--log-format", form, "db", "sql")

    assert done.exit_code == 70
    assert f"TypeError: {SECRET}" in done.stderr
    assert not any(line.startswith("2026-01-01") for line in done.stderr.splitlines())
    assert done.stderr.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--bogus"], 2),
        (["bogus"], 2),
        (["db", "bogus"], 2),
        (["relay", "parts", "x"], 2),
        (["relay", "run", "extra"], 2),
        (["topics", "create"], 2),
        (["--log-level", "loud", "db", "current"], 2),
        (["--database-url", f"postgresql://a:{SECRET}@h/d", "db", "current"], 2),
        (["--database-url", "postgresql://a@127.0.0.1:1/d", "db", "current"], 1),
        (["--database-url", "postgresql://a@127.0.0.1:1/d", "projection", "delete", "totals"], 2),
        (["--database-url", "postgresql://a@127.0.0.1:1/d", "projection", "delete", "totals", "--yes"], 1),
        (["--database-url", "postgresql://a@127.0.0.1:1/d", "--transport-url", "local://x", "relay", "run"], 2),
        (["catalog", "export", "nowhere:shop"], 1),
        (["events", "prune", "--sent", "--older-than", "soon"], 2),
        (["events", "restore", "/nowhere"], 2),
    ],
)
def test_the_log_is_json_to_the_last_line(words: list[str], code: int) -> None:
    """Wrong words, wrong settings, an absent server, a question that nobody answers: each is an object on a line."""
    for form in (["--log-format", "json"], ["--log-format=json"]):
        done = run(*form, *words)

        assert done.exit_code == code, done.output
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert lines[-1]["level"] == "error"
        assert SECRET not in done.output


@pytest.mark.usefixtures("broken")
def test_a_fault_is_json_too() -> None:
    """With the stack, as one object, at level debug."""
    (line,) = run("--debug", "--log-format", "json", "db", "sql").stderr.splitlines()

    assert SECRET in json.loads(line)["error"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_signals_threads_and_warnings_speak_the_logs_format(form: str, tmp_path: Path) -> None:
    """The message of a signal's handler, Python's own warning, and the stack of an unattended thread."""
    (tmp_path / "noisy.py").write_text(
        "import threading, time, warnings\n"
        "warnings.warn('old')\n"
        f"def fail(): raise ValueError('one\\n2026-01-01 FORGED {EVIL[:-1]}')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "print('here', flush=True)\n"
        "while True: time.sleep(0.1)\n"
    )
    command = [sys.executable, "-m", "eventkit.cli", "--log-format", form, "projector", "run", "noisy:model"]
    given = {**os.environ, "EVENTKIT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}
    with subprocess.Popen(command, env=given, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        said = b""
        while b"SIGTERM" not in said:
            said += process.stderr.readline()
        process.kill()

    text = said.decode()
    assert "old" in text
    assert "ValueError" in text
    assert text.replace("\n", "").isprintable()
    assert not any(line.startswith("2026-01-01") for line in text.splitlines())
    if form == "json":
        assert all(json.loads(line)["room"] for line in text.splitlines())


def test_output_is_printable() -> None:
    """As JSON escapes it, so that JSON stays JSON."""
    escaped = plain(EVIL)

    assert escaped.isprintable()
    assert json.loads(plain(json.dumps({"x": EVIL}, ensure_ascii=False))) == {"x": EVIL}
    assert plain("Übung\t1\n\U0001f980") == "Übung\t1\n\U0001f980"
    assert cell("a\nb") == "a b"


def test_names_in_tables_print_nothing_of_their_own(database_url: str) -> None:
    """A projection's name, a stream and an event's type, by any writer of those tables; rich's markup is text."""
    evil = f"[red]{EVIL[:-1]}[/]"
    with psycopg.connect(database_url) as session:
        session.execute(
            "insert into eventkit.projections (name, tables, declared_version) values (%s, array[%s], 1)", (evil, evil)
        )
        session.execute(
            "insert into eventkit.timers"
            " (event_id, stream, name, due_at, source, type, schema_version, data, metadata, topic, shard)"
            " values (gen_random_uuid(), %s, %s, now(), 'shop', %s, 1, '{}', '{}', 'x', 0)",
            (evil, evil, evil),
        )
    for words in (["projection", "list"], ["projection", "status", evil], ["timers", "list"], ["doctor"]):
        for more in ([], ["--json"]):
            done = run(*words, *more, EVENTKIT_DATABASE_URL=database_url)

            assert done.output.replace("\n", "").isprintable(), words
            assert "[red]" in done.output or words == ["doctor"], done.output


def outcome(words: list[str], **streams: object) -> tuple[int, str]:
    """Run a command as a process; return its exit code and its stderr."""
    command = [sys.executable, "-m", "eventkit.cli", *words]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **streams)  # type: ignore[call-overload]
    return done.returncode, done.stderr


def test_a_full_disk_is_a_one_sentence_error() -> None:
    """The output is not whole, and the exit code says so."""
    with Path("/dev/full").open("w") as full:
        for words in (["db", "sql"], ["--help"], ["--log-format", "json", "db", "sql"]):
            code, said = outcome(words, stdout=full)

            assert code == 1, said
            assert "the output cannot be written, not all of it is there: No space left on device" in said
            assert said.count("\n") == 1


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    """`eventkit db sql | head -1`: no error is printed."""
    reader, writer = os.pipe()
    os.close(reader)
    code, said = outcome(["db", "sql"], stdout=writer)
    os.close(writer)

    assert (code, said) == (1, "")


def test_without_any_streams_it_works(tmp_path: Path) -> None:
    """As a daemon: stdin, stdout and stderr closed."""
    command = f"{sys.executable} -m eventkit.cli db sql <&- >&- 2>&-; echo $? > {tmp_path / 'code'}"
    subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, check=False, timeout=60)

    assert (tmp_path / "code").read_text() == "0\n"


def test_a_working_directory_that_was_removed_has_no_modules(tmp_path: Path) -> None:
    """As of a shell that is in the folder of an earlier release."""
    words = "projector run nowhere:model"
    command = f"cd {tmp_path} && rmdir {tmp_path} && exec {sys.executable} -m eventkit.cli {words}"
    given = {**os.environ, "PYTHONPATH": str(ROOT), "EVENTKIT_DATABASE_URL": "postgresql://nobody.0.0.1:1/x"}
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=given, capture_output=True, text=True, timeout=60, check=False
    )

    assert "no module 'nowhere'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 12345"), OSError("No username set")])
@pytest.mark.parametrize(
    "words",
    [
        ["dead-letters", "list"],
        ["dead-letters", "log"],
        ["events", "prune", "--sent", "--older-than", "7d", "--dry-run"],
        ["events", "archive", "order-1", "--to", "/nowhere/x", "--yes"],
        ["events", "restore", __file__],
        ["privacy", "forget", "ada", "--yes"],
    ],
)
def test_a_user_without_a_name_is_a_number(
    database_url: str, words: list[str], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers run under random numbers; the record has the number."""

    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)

    done = run(*words, EVENTKIT_DATABASE_URL=database_url)

    assert done.exit_code in (0, 1)
    assert "unexpected" not in done.stderr
    if words[0] == "privacy":
        assert f"recorded for uid {os.getuid()}@{socket.gethostname()}" in done.output


def test_an_age_is_measured_by_the_databases_clock(database_url: str) -> None:
    """An operator's clock that is ahead would prune events that are seconds old."""
    with psycopg.connect(database_url, autocommit=True) as session:
        row = session.execute("select clock_timestamp()").fetchone()
        moment = long_ago(session, timedelta(days=1))

    assert row is not None
    assert timedelta() <= moment - (row[0] - timedelta(days=1)) < timedelta(minutes=1)


@pytest.mark.parametrize("name", ["redis", "pika", "stomp", "confluent_kafka", "psycopg", "click", "secrets"])
def test_a_file_named_like_a_library_does_not_take_its_place(name: str, tmp_path: Path) -> None:
    """The working directory comes last on the path, for the command and for a rebuild's workers."""
    (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    (tmp_path / "service.py").write_text(f"import {name}\nimport beside\nprint(beside.__name__)\n")
    (tmp_path / "beside.py").write_text("")
    program = "from eventkit.cli import main; main()"
    given = {**os.environ, "EVENTKIT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x", "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", program, "projector", "run", "service:model"]
    done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=60, check=False)

    assert "service has no 'model'" in done.stderr
    assert done.stdout == "beside\n"


def test_a_module_that_another_one_hides_is_named(tmp_path: Path) -> None:
    """A service's module named like one of Python's: the sentence says which came first, and which to rename."""
    (tmp_path / "secrets.py").write_text("totals = 1\n")
    given = {**os.environ, "EVENTKIT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x", "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "eventkit.cli", "projector", "run", "secrets:totals"]
    done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert f"comes before {tmp_path / 'secrets.py'}, so rename that" in done.stderr


@pytest.mark.parametrize("client", ["redis", "pika", "stomp"])
def test_a_missing_or_wrong_client_library_is_an_error(client: str, tmp_path: Path) -> None:
    """Not installed, or a file of its name is before it on PYTHONPATH."""
    scheme = {"pika": "rabbitmq", "stomp": "activemq"}.get(client, client)
    command = [sys.executable, "-c", "from eventkit.cli import main; main()", "topics", "check"]
    missing = f"import sys; sys.modules[{client!r}] = None; "
    given = {**os.environ, "EVENTKIT_TRANSPORT_URL": f"{scheme}://127.0.0.1:1"}
    without = [command[0], "-c", missing + command[2], *command[3:]]
    absent = subprocess.run(without, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    (tmp_path / f"{client}.py").write_text("CACHE = {}\n")
    given["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    hidden = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, check=False)

    assert f"pip install 'eventkit-outbox[{scheme}]'" in absent.stderr
    assert f"{tmp_path / client}.py was imported as {scheme}'s client {client}" in hidden.stderr
    assert (absent.returncode, hidden.returncode) == (2, 2)
    assert (absent.stderr + hidden.stderr).count("\n") == 2
