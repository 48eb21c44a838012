"""Generate the pages of docs/reference/ from the code: settings, the command line, the Python API.

python scripts/reference.py           write the pages
python scripts/reference.py --check   exit 1 if a page is older than the code
"""

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click

import eventkit
from eventkit import config
from eventkit.cli import main as eventkit_command

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
WRITTEN = "<!-- written by scripts/reference.py: edit the code, then run `make docs` -->"
GENERAL = {"--help", "--version"}
THEMES = {
    "Events": "Catalog EventType Encoded EncodedEvent Envelope Metadata StreamId",
    "The event store": "EventStore Append Appended CausationTree Caused ANY NO_STREAM Decision QueryItem",
    "Aggregates": "Aggregate evolve Decider Deciding Repository Snapshots DecisionModel Decisions retry_on_conflict "
    "retry_on_conflict_async",
    "Read models": "TableProjection SqlProjection DELETE Inline Retry Backoff wait_for wait_for_async",
    "Messages": "Sender Listener Requester Responder Replies Handlers ProcessManager Reaction Deadlines",
    "Personal data": "Personal Privacy MasterKeys",
    "Settings and brokers": "Settings load_settings open_transport",
}
ERRORS = "Errors"


def main() -> int:
    """Write or check the pages; return the exit code."""
    pages = {"settings.md": settings(), "cli.md": command_line(), "api.md": api()}
    FOLDER.mkdir(exist_ok=True)
    stale = [name for name, text in pages.items() if _read(FOLDER / name) != text]
    if "--check" in sys.argv:
        for name in stale:
            print(f"docs/reference/{name} is older than the code: run `python scripts/reference.py`")
        return 1 if stale else 0
    for name in stale:
        (FOLDER / name).write_text(pages[name])
    return 0


def settings() -> str:
    """Return the page of settings: the source of each, then every option of the command line."""
    rows = [
        _row(
            f"`{field.name}`",
            f"`{config.PREFIX}{field.name.upper()}`",
            _option(field.name),
            _default(field.default),
            field.metadata["help"],
        )
        for field in fields(config.Settings)
        if "help" in field.metadata
    ]
    options: dict[tuple[str, str], list[str]] = {}
    for path, command in commands(eventkit_command):
        for option in _options(command):
            options.setdefault((_names(option), (option.help or "").strip()), []).append(path)
    table = [
        _row(f"`{names}`", help_, ", ".join(f"`{p}`" for p in paths))
        for (names, help_), paths in sorted(options.items())
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            WRITTEN,
            "",
            "A value comes from the first of these that has it: an option, the environment,",
            "[Django's settings](../frameworks.md#django) under `manage.py`, `eventkit.toml` (or",
            "`[tool.eventkit]` in `pyproject.toml`), the default. A password belongs in the environment or in",
            "`~/.pgpass`: options and files refuse it. `eventkit doctor` names the file that was read.",
            "",
            _row("Setting", "Environment", "Option", "Default", "Meaning"),
            _row(*["---"] * 5),
            *rows,
            "",
            "Options of a broker's client have one variable each: `EVENTKIT_TRANSPORT_OPTION_<NAME>`.",
            "[Transports](../transports.md) lists them. `NO_COLOR` turns colours off.",
            "",
            "## Options of the commands",
            "",
            _row("Option", "Meaning", "Commands"),
            _row(*["---"] * 3),
            *table,
            "",
        ]
    )


def command_line() -> str:
    """Return the page of commands: the help of each, as the terminal shows it."""
    lines = ["# Command line", "", WRITTEN, ""]
    for path, command in commands(eventkit_command):
        context = click.Context(command, info_name=path, terminal_width=100, max_content_width=100)
        lines += [f"## {path}", "", "```text", _plain(command.get_help(context)), "```", ""]
    return "\n".join(lines)


def api() -> str:
    """Return the page of the Python API: the public names by theme, each with its docstring by mkdocstrings."""
    lines = ["# Python API", "", WRITTEN, "", "Import everything here from `eventkit`.", ""]
    for theme, names in themes().items():
        lines += [f"## {theme}", ""]
        for name in names:
            lines += [*_entry(name), ""]
    return "\n".join(lines)


def themes() -> dict[str, list[str]]:
    """Return the public names by theme; the errors are the last theme."""
    named = {theme: names.split() for theme, names in THEMES.items()}
    errors = [name for name in eventkit.__all__ if _is_error(getattr(eventkit, name))]
    return {**named, ERRORS: errors}


def commands(command: click.Command, path: str = "eventkit") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its words, a group before its commands."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from commands(below, f"{path} {name}")


def _entry(name: str) -> list[str]:
    value = getattr(eventkit, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return [f"::: {value.__module__}.{value.__qualname__}"]  # mkdocstrings writes its heading
    return [f"### {name}", "", f"A value of `{type(value).__name__}`."]


def _option(setting: str) -> str:
    words = f"--{setting.replace('_', '-')}"
    return f"`{words}`" if any(words in parameter.opts for parameter in eventkit_command.params) else "-"


def _is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


def _options(command: click.Command) -> Iterator[click.Option]:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not GENERAL.intersection(parameter.opts):
            yield parameter


def _names(option: click.Option) -> str:
    return ", ".join(option.opts) + (" / " + ", ".join(option.secondary_opts) if option.secondary_opts else "")


def _default(value: object) -> str:
    return f"`{value}`" if isinstance(value, str) else "-"


def _row(*cells: str) -> str:
    return "| " + " | ".join(re.sub(r"\s+", " ", cell).replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines())


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
