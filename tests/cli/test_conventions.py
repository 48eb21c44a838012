"""Conventions that hold for every command: light help, JSON for scripts, exit codes, tables, completion."""

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import psycopg
import pytest

from eventkit.cli import main
from eventkit.cli.common.exit_codes import ExitCode
from scripts.reference import commands
from tests.cli.terminal import ROOT, STYLES, in_terminal
from tests.cli.test_status import run
from tests.projection.run.test_running import environment
from tests.projection.shop import CREATE, Ordered, apply, message

HEAVY = (
    "alembic", "confluent_kafka", "opentelemetry", "pika", "prometheus_client", "psycopg", "redis", "rich",
    "sqlalchemy", "starlette", "stomp", "uvicorn",
)  # fmt: skip
HELP = """
import sys, io, contextlib, json
from eventkit.cli import main
found = {}
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([*words, "--help"], prog_name="eventkit")
    for name in json.loads(sys.argv[2]):
        if name in sys.modules:
            found.setdefault(name, words)
print(json.dumps(found))
"""
# They print another form that a script reads, or work until they are stopped.
WITHOUT_JSON = {
    "eventkit catalog export": "JSON",
    "eventkit db sql": "SQL",
    "eventkit debezium config": "JSON",
    "eventkit privacy new-key": "the key",
    "eventkit projector run": "a process",
    "eventkit relay run": "a process",
    "eventkit timers run": "a process",
    "eventkit web": "a process",
}
LISTS = [
    "projection list", "dead-letters list", "dead-letters log", "events sizes", "events find", "status", "doctor",
    "timers list", "projection status totals", "privacy status",
]  # fmt: skip


def leaves() -> list[tuple[str, click.Command]]:
    """Return every command that is no group."""
    return [(path, command) for path, command in commands(main) if not isinstance(command, click.Group)]


def test_help_of_any_command_loads_nothing_heavy() -> None:
    """No driver, no broker's client, no tables: `--help` and a completion are there at once."""
    words = [path.split()[1:] for path, _ in commands(main)]
    ran = subprocess.run(
        [sys.executable, "-c", HELP, json.dumps(words), json.dumps(HEAVY)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip

    assert json.loads(ran.stdout) == {}


def test_every_command_that_a_script_would_read_has_json() -> None:
    """The others are known, and why."""
    without = {path for path, command in leaves() if "as_json" not in {parameter.name for parameter in command.params}}

    assert without - WITHOUT_JSON.keys() == set()


def test_every_command_has_examples() -> None:
    """Each help ends with lines to copy."""
    missing = [path for path, command in leaves() if "Examples:" not in (command.epilog or "")]

    assert missing == []


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    """docs/troubleshooting.md, *A command ends*."""
    section = (ROOT / "docs/troubleshooting.md").read_text().partition("## A command ends")[2].partition("\n## ")[0]
    table = re.findall(r"^\| (\d+) \|", section, re.MULTILINE)

    assert list(map(int, table)) == sorted(ExitCode)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("status", ExitCode.DONE),
        ("projection status nothing", ExitCode.REFUSED),
        ("status --limit 0", ExitCode.MISUSED),
        ("--transport-url smoke://x topics check", ExitCode.MISUSED),
        ("projection verify totals", ExitCode.NOT_COMPARED),
    ],
)
def test_exit_codes_are_those_of_the_table(database_url: str, words: str, code: ExitCode) -> None:
    """Others have tests of their own: a fault, Ctrl-C, and the second signal."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    apply(database_url, [message("order-1", 1, Ordered("ann", 1))])

    assert run(database_url, *words.split()).returncode == code


def test_tables_fit_eighty_columns_and_take_full_width_without_a_terminal(database_url: str) -> None:
    """A terminal folds long cells; a pipe gets each row on one line."""
    with psycopg.connect(database_url) as connection:
        connection.execute(CREATE)
    name = f"order-{'x' * 120}"
    apply(database_url, [message(name, 1, Ordered("ann", -1))])
    for words in LISTS:
        screen = STYLES.sub("", in_terminal(database_url, *words.split(), NO_COLOR="1"))
        assert [line for line in screen.split("\n") if len(line) > 80] == [], words
        assert "Traceback" not in screen

    assert name in run(database_url, "dead-letters", "list").stdout
    assert name not in in_terminal(database_url, "dead-letters", "list")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("eventkit rel", "relay"), ("eventkit events ta", "tail"), ("eventkit relay pause --rea", "--reason")],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(tmp_path: Path, shell: str, typed: str, offered: str) -> None:
    """As docs/operations.md says to set it up; without a database."""
    words = typed.split()
    asked = {"COMP_WORDS": typed, "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1)}
    done = subprocess.run(
        [_command(tmp_path)], capture_output=True, text=True, timeout=60, check=False,
        env={**environment("postgresql://nobody@127.0.0.1:1/x"), **asked, "_EVENTKIT_COMPLETE": f"{shell}_complete"},
    )  # fmt: skip

    assert offered in done.stdout.replace("\t", ",").replace("\n", ",").split(","), done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_the_script_that_it_needs(tmp_path: Path, shell: str) -> None:
    """It is click's, and names the command."""
    done = subprocess.run(
        [_command(tmp_path)], capture_output=True, text=True, timeout=60, check=False,
        env={**environment("x"), "_EVENTKIT_COMPLETE": f"{shell}_source"},
    )  # fmt: skip

    assert "_EVENTKIT_COMPLETE" in done.stdout, done.stderr


def _command(folder: Path) -> Path:
    """Return the command as an installation has it."""
    script = folder / "eventkit"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom eventkit.cli import main\nmain()\n"
    )
    script.chmod(0o755)
    return script
