"""The live screen of `eventkit status --watch`: drawn over itself on a terminal, one after the other elsewhere."""

import json
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from eventkit.cli.common.output import cell, remark, say
from eventkit.cli.common.tables import new_console, show
from eventkit.cli.status.screen import shown
from eventkit.cli.status.system import SystemStatus


class LiveScreen:
    """Shows one state after the other."""

    def __init__(self, schema: str, *, as_json: bool) -> None:
        self._schema = schema
        self._as_json = as_json
        self._last: RenderableType = Text()
        console = new_console()
        self._live = None
        if console.is_terminal and not as_json:
            self._live = Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, status: SystemStatus) -> None:
        """Show a state."""
        if self._as_json:
            say(json.dumps(status.as_json()))
            return
        self._last = shown(status, self._schema, fitting=None if self._live is None else self._live.console)
        if self._live is not None:
            self._live.update(self._last, refresh=True)
        else:
            show(Group(self._last, Text()))

    def note(self, problem: str) -> None:
        """Say why there is no newer state, above the last one."""
        if self._live is not None:
            text = Text(f"not up to date: {cell(problem)}", style="bold red")
            self._live.update(Group(text, self._last), refresh=True)
        else:
            remark(f"not up to date: {problem}")
