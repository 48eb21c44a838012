"""Tables and texts for a terminal, whose width they keep, or for a pipe, where nothing is folded or cut.

Without a terminal, with `NO_COLOR` or with `TERM=dumb` there are no escape sequences. No cell has any of its own.
"""

from collections.abc import Collection

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table

from eventkit.cli.common.output import cell

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
    console.print(content)
