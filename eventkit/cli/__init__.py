"""The `eventkit` command: the one place that puts the parts together, thin, and loading only what a command needs.

Every command gets its `Settings` by `click.pass_obj` and is `command` in the module of its name. An error of ours
is printed here and only here, as one sentence on stderr; the exit code is 2 where a setting or the usage is wrong, 1
where the world is not as it must be.
"""

import importlib
import importlib.metadata
import importlib.util
import sys
from typing import IO, Any

import click

from eventkit.config import load
from eventkit.errors import ConfigurationError, EventkitError
from eventkit.observability import logs

_COMMANDS = {
    "db": "Create, upgrade and check the tables.",
    "relay": "Send what is in the outbox to the broker.",
    "projector": "Keep read models up to date, run process managers and handlers.",
    "timers": "Fire deadlines when they are due.",
    "inbox": "Forget old messages of handlers.",
    "projection": "List, rebuild and delete projections.",
    "privacy": "Forget people, and look after keys.",
    "catalog": "Check a catalog of events before a release.",
    "topics": "Create and check the broker's topics.",
    "events": "See the store's sizes, prune it, archive streams.",
    "dead-letters": "See, redrive, edit and discard what could not go on.",
    "doctor": "Look at database and broker, and name what could lose or stall events.",
}

_EXAMPLES = """\b
Examples:
  export EVENTKIT_DATABASE_URL=postgresql://shop@localhost/shop
  export EVENTKIT_TRANSPORT_URL=kafka://localhost:9092
  eventkit db upgrade
  eventkit topics create shop.order
  eventkit relay run
  eventkit projector run shop.read_models:totals

Settings come from eventkit.toml or [tool.eventkit] in pyproject.toml, then from EVENTKIT_* in the environment,
then from these options.
Passwords come from the environment or ~/.pgpass alone.
"""


class Failure(click.ClickException):
    """An error of ours, for the person at the terminal."""

    def __init__(self, error: EventkitError) -> None:
        """Say it in one line."""
        super().__init__(" ".join(str(error).split()) or type(error).__name__)

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"eventkit: {self.message}", file=file or sys.stderr)


class Misuse(Failure):
    """A setting that cannot be used."""

    exit_code = 2


class Commands(click.Group):
    """Loads a command's module when that command is called, and prints its errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return [name for name in _COMMANDS if importlib.util.find_spec(_module(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(_module(cmd_name)).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{_module(cmd_name)}.command is {command!r}, not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 click's signature
        try:
            return super().invoke(ctx)
        except EventkitError as error:
            raise (Misuse if isinstance(error, ConfigurationError) else Failure)(error) from error


def _module(command: str) -> str:
    return f"{__name__}.{command.replace('-', '_')}"


@click.group(
    cls=Commands, epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(
    importlib.metadata.version("eventkit-outbox"), prog_name="eventkit", message="%(prog)s %(version)s"
)
@click.option("--database-url", metavar="URL", help="PostgreSQL, as in postgresql://user@host:5432/database.")
@click.option("--transport-url", metavar="URL", help="The broker, as in kafka://host:9092.")
@click.option("--schema", metavar="NAME", help="The PostgreSQL schema of eventkit's tables (default: eventkit).")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to log, on stderr.",
)
@click.pass_context
def main(ctx: click.Context, /, log_format: logs.Format, **urls: str | None) -> None:
    """Append events in your own transaction, relay them in order, rebuild read models."""
    logs.configure(log_format)
    ctx.obj = load(**urls)
