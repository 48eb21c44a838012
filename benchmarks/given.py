"""Options of every benchmark on the command line: servers, rounds, and the form of its report."""

import functools
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from benchmarks import plot, servers

Command = Callable[..., Any]


class Given(msgspec.Struct, frozen=True):
    """The options that all benchmarks share."""

    as_json: bool
    rounds: int
    plot: Path | None
    database_url: str | None = None
    postgres: str | None = None
    transport_url: str | None = None

    @property
    def console(self) -> Console:
        """Where people read: stderr when a script reads stdout."""
        return Console(stderr=self.as_json)

    @contextmanager
    def server(self) -> Iterator[servers.PostgresServer]:
        """Lend a server, for as many databases as are wanted."""
        with servers.postgres(self.database_url, int(self.postgres) if self.postgres else None) as server:
            yield server

    @contextmanager
    def database(self) -> Iterator[tuple[str, str]]:
        """Lend a fresh database: its address and the server's release."""
        with servers.database(self.database_url, int(self.postgres) if self.postgres else None) as lent:
            yield lent

    @contextmanager
    def broker(self) -> Iterator[servers.Kafka]:
        """Lend a broker."""
        with servers.broker(self.transport_url) as kafka:
            yield kafka


def given(*, broker: bool = True, database: bool = True, rounds: int = 5) -> Callable[[Command], Command]:
    """Give a command the shared options, as one argument: its first."""
    options = [
        click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object on the last line."),
        click.option("--rounds", type=click.IntRange(1), default=rounds, show_default=True),
        click.option("--plot", metavar="FILE", callback=_checked, help="Draw the figures: FILE ends in .png or .svg."),
    ]
    if database:
        options += [
            click.option("--database-url", help="Use this server, as a role that may create databases."),
            click.option("--postgres", type=click.Choice(["15", "18"]), help="Start this release."),
        ]
    if broker:
        options.append(click.option("--transport-url", help="Use this Kafka: kafka://host:9092."))

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def called(**words: Any) -> Any:  # noqa: ANN401 click's own
            shared = {name: words.pop(name) for name in Given.__struct_fields__ if name in words}
            return command(Given(**shared), **words)

        for option in options:
            called = option(called)
        return called

    return decorate


def _checked(_: click.Context, __: click.Parameter, file: str | None) -> Path | None:
    return plot.checked(file) if file else None


def machine() -> str:
    """Describe the machine of the figures."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"
