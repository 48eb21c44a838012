"""Command lines of the files in deploy/, parsed by the command line itself, and never run."""

from collections.abc import Sequence

import click

from eventkit.cli import main


def parse(words: Sequence[str]) -> str:
    """Return the command that `eventkit ...` would run; raise click.UsageError if it would be refused."""
    assert words[0] == "eventkit", f"not a command line of eventkit: {words}"
    command: click.Command = main
    context = main.make_context("eventkit", list(words[1:]))
    while isinstance(command, click.Group):
        with context:
            rest = [*context._protected_args, *context.args]
            name, found, arguments = command.resolve_command(context, rest)
        assert name is not None
        assert found is not None
        command = found
        context = command.make_context(name, arguments, parent=context)
    return context.command_path
