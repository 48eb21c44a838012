"""Tables and texts for a terminal, whose width they keep, or for a pipe, where no row is folded or cut.

Prose in a pipe is wrapped at `COLUMNS`, if it is set.

Without a terminal, with `NO_COLOR` or with `TERM=dumb` there are no escape sequences. No cell has any of its own.
"""

import shutil
import textwrap
from collections.abc import Collection

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eventkit.cli.common.output import cell, say

_NARROWEST = 80  # columns
_UNLIMITED = 100_000  # columns


def new_table(*headings: str, right: Collection[str] = ()) -> Table:
    """Return an empty table; the columns named in `right` hold numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        number = heading in right
        table.add_column(heading, justify="right" if number else "left", no_wrap=number, overflow="fold")
    return table


def add_row(table: Table, *cells: object) -> None:
    """Add a row; the cells become plain text on one line."""
    table.add_row(*map(cell, cells))


def new_console() -> Console:
    """Return a console on stdout, which takes texts as they are."""
    console = Console(highlight=False, markup=False, emoji=False)
    if console.no_color:  # `NO_COLOR` is set: rich would still print bold
        return Console(highlight=False, markup=False, emoji=False, color_system=None)
    return console


def show(content: RenderableType, console: Console | None = None) -> None:
    """Print a table or a text, in the terminal's width; without a terminal in its own, so that no line is folded."""
    console = console or new_console()
    if not console.is_terminal:
        widest = Measurement.get(console, console.options.update(max_width=_UNLIMITED), content).maximum
        console.width = max(widest, _NARROWEST)
        with console.capture() as captured:
            console.print(content)
        say("\n".join(line.rstrip() for line in captured.get().removesuffix("\n").split("\n")))
        return
    console.print(content)


def prose(text: str, *, indent: int) -> RenderableType:
    """Return indented sentences: a terminal wraps them, a pipe at `COLUMNS`, if it is set."""
    columns = shutil.get_terminal_size((0, 0)).columns
    if new_console().is_terminal or not columns:
        return Padding(Text(text), (0, 0, 0, indent))
    width = max(columns, 2 * indent + 1)
    margin = " " * indent
    return Text(textwrap.fill(text, width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False))
