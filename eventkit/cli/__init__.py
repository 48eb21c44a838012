"""The `eventkit` command: it puts the parts together, and imports a command's module only when that command runs.

Every command gets its `Settings` by `click.pass_obj` and is `command` in the module of its name. Only this module
prints errors, as one sentence on stderr; `eventkit.cli.common.exit_codes` has the exit codes.
"""

from eventkit.cli.common import early_signals  # noqa: F401 first: it sets a signal handler

# isort: split
import errno
import importlib
import importlib.metadata
import importlib.util
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any, Never

import click
from click.shell_completion import CompletionItem

from eventkit.cli.common.exit_codes import ExitCode
from eventkit.config import load_settings
from eventkit.errors import ConfigurationError, EventkitError
from eventkit.observability import logs
from eventkit.observability.plain import ESCAPE, one_line

logger = logging.getLogger("eventkit.cli")

_OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

_COMMANDS = {
    "status": "Show the whole system on one screen, once or live.",
    "db": "Create, upgrade and check the tables.",
    "relay": "Send what is in the outbox to the broker.",
    "projector": "Keep read models up to date, run process managers and handlers.",
    "timers": "Fire deadlines when they are due.",
    "inbox": "Forget old messages of handlers.",
    "projection": "List, rebuild, pause and delete projections.",
    "privacy": "Forget people, and look after keys.",
    "catalog": "Check a catalog of events before a release.",
    "debezium": "Print the connector that sends the events in place of the relay.",
    "topics": "Create and check the broker's topics.",
    "events": "Look for events, show the store's sizes, prune it, archive streams.",
    "dead-letters": "Show, redrive, edit and discard dead letters.",
    "health": "Ask a running worker whether it is live and ready.",
    "web": "Serve a page that shows the running system, and lets you act.",
    "doctor": "Check database and broker for settings that could lose or stall events.",
}

_FOLDERS = {  # commands whose module is not named after them
    "catalog": "catalog.commands",
    "dead-letters": "dead_letters.commands",
    "doctor": "doctor.commands",
    "projection": "projections.commands",
    "projector": "projections.projector",
    "status": "status.commands",
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


class CommandFailed(click.ClickException):
    """An error that ends a command, printed in one line; its stack is shown at debug level."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002 always stderr
        problem = self.__cause__ if logger.isEnabledFor(logging.DEBUG) else None
        if logs.is_json() or problem:
            logger.error("%s", self.message, exc_info=problem)
        else:
            click.echo(f"eventkit: {self.message}", file=sys.stderr)  # noqa: TID251 plain already


class Misuse(CommandFailed):
    """A setting that cannot be used."""

    exit_code = ExitCode.MISUSED


class Unexpected(CommandFailed):
    """A fault in eventkit or in the service's code; its own message is not shown, because it may hold event data."""

    exit_code = ExitCode.FAULT


class Interrupted(CommandFailed):
    """Ctrl-C."""

    exit_code = ExitCode.INTERRUPTED


class Commands(click.Group):
    """Import a command's module when that command is called, and print its errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return [name for name in _COMMANDS if importlib.util.find_spec(_module(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(_module(cmd_name)).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{_module(cmd_name)}.command is {command!r}, not a click command")
        _restore_help(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin so, without importing a command."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=_COMMANDS[name]) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name]) for name in self.list_commands(ctx)])

    def main(  # type: ignore[override] # click's has options that callers here cannot choose
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **_: object
    ) -> Never:
        """Run the command; print any error as one sentence, or as a line of JSON where the log is JSON."""
        words = list(sys.argv[1:] if args is None else args)
        _write_any_text()
        logs.configure(_log_format(words))  # before click refuses any of the words
        try:
            _refuse_unreadable(words)
            code = super().main(words, prog_name, standalone_mode=False)
        except click.ClickException as error:
            _show(error)
            sys.exit(error.exit_code)
        except click.Abort:
            _show(CommandFailed("nothing was done: the answer was not yes"))
            sys.exit(1)
        except OSError as error:  # --help could not be printed
            _show(_failure(error))
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 click's signature
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:  # the reader closed the pipe: click ends the process
            raise
        except (Exception, KeyboardInterrupt) as error:
            raise _failure(error) from error


def _write_any_text() -> None:
    """Escape characters that the terminal's encoding does not have, instead of failing at them.

    Python's own handlers would write no JSON, or fail: in the locale POSIX stdout only takes what was read as such.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPE)


def _refuse_unreadable(words: Sequence[str]) -> None:
    """Raise UsageError for a word that is no text: no name, no path in the database and no address can hold it."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"{word!a} is not UTF-8{_locale_hint()}") from None
        if "\0" in word:
            raise click.UsageError(f"{word!a} has a zero byte in it")


def _locale_hint() -> str:
    encoding = sys.getfilesystemencoding()
    return "" if encoding == "utf-8" else f", or cannot be read in this locale ({encoding}): set LC_ALL=C.UTF-8"


def _restore_help(command: click.Command) -> None:
    if sys.flags.optimize > 1:  # without docstrings
        importlib.import_module("eventkit.cli.common.help_texts").restore(command)


def _log_format(words: Sequence[str]) -> logs.Format:
    """Return the requested format of the log, before click has parsed the words."""
    together = " ".join(words).replace("=", " ")
    return "json" if "--log-format json" in together else "text"


def _show(error: click.ClickException) -> None:
    if isinstance(error, CommandFailed) or not logs.is_json():
        error.show(sys.stderr)
    else:
        logger.error("%s", error.format_message())


def _failure(error: BaseException) -> CommandFailed:
    if isinstance(error, EventkitError):
        return (Misuse if isinstance(error, ConfigurationError) else CommandFailed)(str(error) or type(error).__name__)
    if isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS:
        _discard_stdout()
        return CommandFailed(f"the output cannot be written, not all of it is there: {error.strerror}")
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("interrupted")
    return Unexpected(f"unexpected {_place_of(error)}: `eventkit --debug ...` shows the stack")


def _discard_stdout() -> None:
    """Redirect stdout to the null device, so that the interpreter's last flush does not fail again."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _place_of(error: BaseException) -> str:
    """Return an error's type and where it was raised, without its message, which may hold event data."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def _module(command: str) -> str:
    return f"{__name__}.{_FOLDERS.get(command, command)}"


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
@click.option(
    "--log-level", type=click.Choice(logs.LEVELS), default="info", show_default=True, help="The lowest level to log."
)
@click.option("--debug", is_flag=True, help="Log at level debug, and show the stack of the error that ends a command.")
@click.pass_context
def main(ctx: click.Context, /, log_format: logs.Format, log_level: str, *, debug: bool, **urls: str | None) -> None:
    """Append events in your own transaction, relay them in order, rebuild read models."""
    logs.configure(log_format, level=logging.DEBUG if debug else logging.getLevelNamesMapping()[log_level.upper()])
    ctx.obj = load_settings(**urls)


_restore_help(main)
