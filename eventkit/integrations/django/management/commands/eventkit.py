"""`manage.py eventkit …`: eventkit's command, with the apps loaded and a database of Django's settings."""

import argparse
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError

from eventkit.integrations.django.project_settings import given_by_django


class Command(BaseCommand):
    """All words after `eventkit` are those of its own command line."""

    help = "Run eventkit's command on a database of these settings, as in `eventkit db current`."
    requires_system_checks: Sequence[str] = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command line; `--settings` and `--pythonpath` are Django's, which has read them already."""
        djangos = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        djangos.add_argument("--settings")
        djangos.add_argument("--pythonpath")
        _, words = djangos.parse_known_args(argv[2:])
        _run(words, program=f"{Path(argv[0]).name} eventkit")

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Print eventkit's help, for `manage.py help eventkit`."""
        _run(["--help"], program=f"{Path(prog_name).name} {subcommand}")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take any words, for `call_command("eventkit", "db", "current")`."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def handle(self, *_: object, words: Sequence[str], stdout: IO[str] | None = None, **_options: Any) -> None:  # noqa: ANN401
        """Run the words; raise CommandError if the command does not end with 0."""
        with redirect_stdout(stdout) if stdout is not None else nullcontext():
            try:
                _run(words, program="eventkit")
            except SystemExit as end:
                if end.code:
                    raise CommandError(
                        f"`eventkit {' '.join(words)}` ended with {end.code}", returncode=end.code
                    ) from end


def _run(words: Sequence[str], *, program: str) -> None:
    from eventkit.cli import main  # noqa: PLC0415 at its first use: it is the whole command line

    with given_by_django():
        main(words, prog_name=program)
